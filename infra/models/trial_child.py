"""`python -m infra.models.trial_child FOLDER`: opens one model file, and writes down what came of it."""

import resource
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from infra.models.trial import ANSWER, QUESTION, Answer, Question, Vetted
from models.manifest import About
from models.model import Matrix
from models.onnx import OnnxModel
from schemas.errors import ModelError

BATCH: Final = 1024
ROUNDS: Final = 5


def answer(question: Question) -> Answer:
    """Do what is asked; a `ModelError` is an answer."""
    try:
        return _met(question) if question.about is None else _described(question, question.about)
    except ModelError as error:
        return Answer(refused=str(error))


def _met(question: Question) -> Answer:
    model = OnnxModel.load(
        Path(question.path), expected_features=question.features, expected_features_id=question.features_id,
        max_bytes=question.max_bytes,
    )  # fmt: skip
    rows = model.manifest.canary.rows()
    batch = np.resize(rows, (BATCH, rows.shape[1]))
    return Answer(vetted=Vetted(row_us=_best_us(model, batch[:1]), batch_row_us=_best_us(model, batch) / BATCH))


def _best_us(model: OnnxModel, rows: Matrix) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        model.score(rows)
        best = min(best, (time.perf_counter_ns() - began) / 1_000)
    return best


def _described(question: Question, about: About) -> Answer:
    from models.registering import registered  # noqa: PLC0415 - only this needs the extra `train`

    return Answer(manifest=registered(Path(question.path).read_bytes(), about, max_bytes=question.max_bytes).manifest)


def main(folder: Path) -> None:
    """Read the question, bound this process, write the answer."""
    question = msgspec.json.decode((folder / QUESTION).read_bytes(), type=Question)
    resource.setrlimit(resource.RLIMIT_DATA, (question.memory_bytes, question.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    (folder / ANSWER).write_bytes(msgspec.json.encode(answer(question)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

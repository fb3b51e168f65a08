"""Opening a model file in a process of its own: it may hang, crash or eat memory there and not where we score."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from models.manifest import About, Manifest
from models.onnx import MAX_BYTES
from schemas.errors import ModelError

QUESTION: Final = "question.json"
ANSWER: Final = "answer.json"
TAIL_LINES: Final = 2


class Vetted(Struct, frozen=True, kw_only=True):
    """How long a model took here, on the CPU: one row by itself, and a row of a batch of 1,024 (µs, best of five)."""

    row_us: float
    batch_row_us: float


class Question(Struct, frozen=True, kw_only=True):
    """What is to be tried: the model of the manifest at `path`, or, with `about`, the ONNX file there, to be described."""

    path: str
    features: tuple[str, ...] = ()
    features_id: str = ""
    about: About | None = None
    max_bytes: int = MAX_BYTES
    memory_bytes: int
    """Private memory that the process may have."""


class Answer(Struct, frozen=True, kw_only=True):
    """What came of it: times or a manifest, or why the file is refused."""

    refused: str = ""
    vetted: Vetted | None = None
    manifest: Manifest | None = None


def tried(question: Question, model: str, within_s: float) -> Answer:
    """Ask the child; `ModelError`, naming `model`, where it refuses the file or does not survive it."""
    with tempfile.TemporaryDirectory(prefix="tickwire-trial-") as folder:
        (Path(folder) / QUESTION).write_bytes(msgspec.json.encode(question))
        command = [sys.executable, "-P", "-m", "infra.models.trial_child", folder]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=within_s,
                check=False, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ModelError(
                f"{model}: not loaded and scored within {within_s:g} s; it would hold up every event"
            ) from error
        told = Path(folder) / ANSWER
        if not told.is_file():
            said = " | ".join(ended.stdout.splitlines()[-TAIL_LINES:]) or "and said nothing"
            raise ModelError(f"{model}: the process that tried it {_end(ended.returncode)}: {said}")
        answer = msgspec.json.decode(told.read_bytes(), type=Answer)
    if answer.refused:
        raise ModelError(answer.refused)
    return answer


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

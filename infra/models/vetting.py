"""Whether a model may score here: its file, its canary and its pace, tried where it does no harm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.models.trial import Question, Vetted, tried
from models.manifest import SUFFIX, About, Manifest
from models.onnx import MAX_BYTES
from schemas.errors import ModelError

WITHIN_S: Final = 60.0
MEMORY_BYTES: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class Vetting:
    """What a model must keep to: `within_s` for loading, canary and timing together; `max_row_us` a row in a batch.

    A scoring process that is to fold 20,000 events/s has 50 µs for each.
    """

    features: Sequence[str]
    features_id: str
    within_s: float = WITHIN_S
    max_row_us: float = 50.0
    max_bytes: int = MAX_BYTES
    memory_bytes: int = MEMORY_BYTES

    def __call__(self, path: Path) -> Vetted:
        """Try the model whose manifest is at `path`; `ModelError` with the reason where it may not score."""
        model = path.name.removesuffix(SUFFIX)
        question = Question(
            path=str(path), features=tuple(self.features), features_id=self.features_id, max_bytes=self.max_bytes,
            memory_bytes=self.memory_bytes,
        )  # fmt: skip
        vetted = tried(question, model, self.within_s).vetted
        assert vetted is not None
        if vetted.batch_row_us > self.max_row_us:
            raise ModelError(
                f"{model}: takes {vetted.batch_row_us:.3g} µs a row in a batch of 1,024, {self.max_row_us:g} are allowed; "
                "it would hold up every event: make it smaller"
            )
        return vetted


def described(file: Path, about: About, *, within_s: float = WITHIN_S, max_bytes: int = MAX_BYTES) -> Manifest:
    """The manifest of an ONNX file that was made elsewhere (`models.registering`); `ModelError` where it is no model of ours."""
    question = Question(path=str(file.resolve()), about=about, max_bytes=max_bytes, memory_bytes=MEMORY_BYTES)
    manifest = tried(question, about.name, within_s).manifest
    assert manifest is not None
    return manifest

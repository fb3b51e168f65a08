"""What we and the child that speaks to MLflow write down for each other: one question, one answer, files in two folders."""

from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from models.registry import Version

QUESTION: Final = "question.json"
ANSWER: Final = "answer.json"
TO_REGISTRY: Final = "to"
"""Folder of what is to be kept: `model/` and `reports/`."""
FROM_REGISTRY: Final = "from"
"""Folder of what was fetched."""
MODEL: Final = "model"
REPORTS: Final = "reports"
MAX_ANSWER_BYTES: Final = 8 << 20

Wish: TypeAlias = Literal["log", "alias", "fetch", "versions"]


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of the registry at `tracking`; no secret is in it."""

    wish: Wish
    tracking: str
    """`sqlite:///…`, or the address of a server."""
    artifacts: str = ""
    """Where the files of a new experiment go; the server's choice where empty."""
    model: str
    """Name of the experiment and of the registered model: all our models are versions of one."""
    max_bytes: int
    wanted: str = ""
    alias: str = ""
    tags: dict[str, str] = {}
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of it: done, refused (it would be again), or unavailable (it may work later)."""

    outcome: Literal["done", "refused", "unavailable"] = "done"
    why: str = ""
    version: str = ""
    tags: dict[str, str] = {}
    versions: tuple[Version, ...] = ()


def folders(exchange: Path) -> tuple[Path, Path]:
    """Where files go to the registry, and where they come from it."""
    return exchange / TO_REGISTRY, exchange / FROM_REGISTRY

"""Recordings for tests: the real ones beside the checkout, and small ones written on the spot."""

import gzip
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from streams.recordings.recording import Recorded, Recording

SHARED = Path(os.environ.get("TICKWIRE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_recordings = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not SHARED.exists(), reason="needs the recordings beside the checkout"),
]
T = TypeVar("T")


def plain(path: Path, *lines: str) -> Path:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def gzipped(path: Path, *lines: str) -> Path:
    """The same, gzipped."""
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


def zipped(path: Path, **members: str) -> Path:
    """A zip of files (underscores in a member's name stand for dots)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return path


def only(kind: type[T], items: Iterable[Recorded]) -> list[T]:
    """Those of one type."""
    return [item for item in items if isinstance(item, kind)]


def read(recording: Recording) -> list[Recorded]:
    """Everything in it."""
    return list(recording.items())

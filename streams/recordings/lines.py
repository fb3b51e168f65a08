"""A text file as lines, whether it lies plain, gzipped or alone in a zip; told by its first bytes, not by its name."""

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeAlias

from schemas.errors import InputError

BLOCK: Final = 1 << 20
MAX_LINE: Final = 1 << 24
BOM: Final = b"\xef\xbb\xbf"
Packing: TypeAlias = Literal["gzip", "zip", "parquet", "plain"]
MAGIC: Final[dict[bytes, Packing]] = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "parquet",
}
SUFFIXES: Final[dict[str, Packing]] = {".gz": "gzip", ".zip": "zip", ".parquet": "parquet"}
NOT_READ: Final = frozenset({".bz2", ".xz", ".zst", ".lz4", ".br", ".7z", ".rar", ".tar", ".tgz"})
"""How files are packed that cannot be read here."""


def packing(path: Path) -> Packing:
    """How a file is packed, by its first bytes.

    Raises: `InputError` if it is missing, empty, or packed otherwise than its name says.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file: {error.strerror}") from error
    if not start:
        raise InputError(f"{path}: the file is empty")
    kinds: list[Packing] = [kind for magic, kind in MAGIC.items() if start.startswith(magic)]
    found = kinds[0] if kinds else "plain"
    refuse_packing(path)
    said = SUFFIXES.get(path.suffix.lower())
    if said is not None and said != found:
        raise InputError(f"{path}: expected {said} as the name says, found first bytes {start!r}; the file is not that")
    return found


def refuse_packing(path: Path) -> None:
    """Raises: `InputError` for a file that is packed in a way that is not read, by its name."""
    if path.suffix.lower() in NOT_READ:
        raise InputError(
            f"{path}: expected a plain file, gzip, zip or Parquet, found {path.suffix}; unpack it, or pack it with gzip"
        )


class LineFile:
    """The lines of one file; counts the bytes it has read, and names the line where the file breaks off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{path.parent.name}/{path.name}".removeprefix("/")
        """With its folder: LEAN's files of one day are told apart by nothing else."""
        self.packing = packing(path)
        self.size = path.stat().st_size
        self.position = 0
        self.member = self._only_member() if self.packing == "zip" else ""

    def lines(self) -> Iterator[bytes]:
        """Every line without its line feed, from the first on, without a byte order mark.

        Raises: `InputError` at a broken or endless line.
        """
        read, rest = 0, b""
        with ExitStack() as stack:
            disk = stack.enter_context(self._opened())
            try:
                unpacked = stack.enter_context(self._unpacked(disk))
                while block := unpacked.read(BLOCK):
                    self.position = disk.tell()
                    if not read and not rest:
                        block = block.removeprefix(BOM)
                    lines = (rest + block).split(b"\n")
                    rest = lines.pop()
                    if len(rest) > MAX_LINE:
                        raise InputError(f"{self.path}:{read + len(lines) + 1}: a line of over {MAX_LINE} bytes")
                    yield from lines
                    read += len(lines)
            except (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
                raise InputError(
                    f"{self.path}:{read + 1}: the file breaks off or is damaged after {read} lines ({error}); "
                    "fetch it again"
                ) from error
        self.position = self.size
        if rest:
            yield rest

    def head(self, count: int) -> Iterator[bytes]:
        """At most the first `count` lines that are not blank."""
        return islice((line for line in self.lines() if line.strip()), count)

    def _opened(self) -> io.BufferedReader:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InputError(f"{self.path}: expected a readable file: {error.strerror}") from error

    def _unpacked(self, disk: io.BufferedReader) -> "io.BufferedReader | gzip.GzipFile | zipfile.ZipExtFile":
        if self.packing == "gzip":
            return gzip.GzipFile(fileobj=disk)
        if self.packing == "zip":
            return zipfile.ZipFile(disk).open(self.member)  # type: ignore[return-value]
        disk.seek(0, os.SEEK_SET)
        return disk

    def _only_member(self) -> str:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{self.path}: expected a zip, found a damaged one ({error}); fetch it again") from error
        if len(members) != 1:
            found = ", ".join(members[:3]) or "none"
            raise InputError(
                f"{self.path}: expected a zip with one file, found {len(members)} ({found}); unpack it and play the "
                "files one by one"
            )
        return members[0]

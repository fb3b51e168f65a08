"""A disk that can be filled and emptied while a process works on it: a tmpfs that only that process and its children see."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.services.processes import Program

CHUNK = bytes(1 << 16)
SMALLEST = 512


def on_small_disk(command: Sequence[str], folder: Path, mib: int) -> list[str]:
    """The command, with an empty tmpfs of so many MiB at `folder`; needs user namespaces or root."""
    mounted = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", f"{mib}m", str(folder), *command]


@contextmanager
def filled(program: Program, folder: Path, leave: int = 0) -> Iterator[None]:
    """Not a byte is left on the program's small disk, but for `leave` bytes, until the block ends."""
    ballast = Path(f"/proc/{program.pid}/root{folder}/ballast")
    with ballast.open("wb", buffering=0) as out:
        for piece in (CHUNK, CHUNK[:SMALLEST], CHUNK[:1]):
            with suppress_full():
                while out.write(piece) == len(piece):
                    pass
        if leave:
            out.truncate(max(0, out.tell() - leave))
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the program is gone, and its disk with it
            ballast.unlink()


@contextmanager
def suppress_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise

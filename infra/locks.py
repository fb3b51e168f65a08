"""One process a partition on this machine: a file a partition, locked (`flock`) for as long as the process lives."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from infra.private import private_folder
from schemas.errors import WriterHeld

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Names this boot of this machine; empty where the system keeps no such name."""
    return BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""


@contextmanager
def locked(directory: Path, topic: str, partitions: Sequence[int], group: str) -> Iterator[Mapping[int, str]]:
    """Hold the partitions and the group's state; yields each partition's lock by its name, the same only for the same file.

    WriterHeld at once where another process holds one: two writers of one partition would race.
    """
    private_folder(directory)
    with ExitStack() as held:
        held.enter_context(_of_writer(directory / f"group-{group}.lock", f"the state of --group {group}"))
        boot, names = boot_id(), {}
        for partition in partitions:
            path = directory / f"partition-{topic}-{partition}.lock"
            lock = held.enter_context(_of_writer(path, f"{topic}[{partition}]"))
            status = os.fstat(lock.fileno())
            names[partition] = f"{boot}:{status.st_dev}:{status.st_ino}"
        yield names


@contextmanager
def hold(path: Path, refused: Callable[[str], Exception]) -> Iterator[IO[str]]:
    """Hold the lock of a file, with our process id in it; where another holds it, raise what `refused` makes of its id."""
    with path.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise refused(lock.read().strip() or "unknown") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def _of_writer(path: Path, what: str) -> AbstractContextManager[IO[str]]:
    return hold(
        path,
        lambda holder: WriterHeld(
            f"{what} is written by process {holder}, which holds {path}; two writers of one partition would race: stop that "
            "one, or give this one other --partitions and another --group"
        ),
    )

"""Seeds: the state of a partition that a rebuild has reached, as a file beside the recovery store, which cannot be filled.

The scoring flow starts from it where Bytewax has no state of its own yet. Two lines of JSON would do for people; the bytes
are a header in MessagePack, its length before it, and the snapshot behind it. No pickle.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import RecoveryError

MAGIC: Final = b"tickwire-seed-1\n"
LENGTH: Final = 4


class SeedHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Where a seed belongs, and what its content is."""

    log_id: str
    step: str
    features_id: str
    partition: int
    next_offset: int
    """The first record that is not in it."""
    sha256: str


class Seed(msgspec.Struct, frozen=True):
    """A partition's state, and where reading goes on."""

    next_offset: int
    snapshot: bytes


def seed_path(directory: Path, partition: int) -> Path:
    """Where the seed of a partition lies."""
    return directory / f"seed-{partition:05d}"


def write_seed(directory: Path, header: SeedHeader, snapshot: bytes) -> Path:
    """Write and sync; whoever looks sees the whole file or none."""
    raw = msgspec.msgpack.encode(header)
    path = seed_path(directory, header.partition)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(MAGIC + len(raw).to_bytes(LENGTH, "big") + raw + snapshot)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(directory)
    return path


def header_of(log_id: str, step: str, features_id: str, at: tuple[int, int], snapshot: bytes) -> SeedHeader:
    """The header of a snapshot; `at`: partition and next offset."""
    return SeedHeader(
        log_id=log_id, step=step, features_id=features_id, partition=at[0], next_offset=at[1],
        sha256=hashlib.sha256(snapshot).hexdigest(),
    )  # fmt: skip


def read_seed(path: Path, log_id: str, step: str) -> Seed:
    """The seed of this log and step. `RecoveryError` where it is torn, altered or of another one."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[len(MAGIC) : len(MAGIC) + LENGTH], "big")
    start = len(MAGIC) + LENGTH
    try:
        if not raw.startswith(MAGIC):
            raise ValueError("no seed of this version")
        header = msgspec.msgpack.decode(raw[start : start + size], type=SeedHeader)
    except (ValueError, msgspec.DecodeError) as error:
        raise RecoveryError(path, f"a seed that cannot be read ({error})") from error
    if (header.log_id, header.step) != (log_id, step):
        raise RecoveryError(path, f"a seed of log {header.log_id} and step {header.step}, not of {log_id} and {step}")
    if path != seed_path(path.parent, header.partition):
        raise RecoveryError(path, f"the seed of partition {header.partition}")
    snapshot = raw[start + size :]
    if hashlib.sha256(snapshot).hexdigest() != header.sha256:
        raise RecoveryError(path, f"a torn or altered seed: {len(snapshot)} bytes do not have the sha256 of its header")
    return Seed(header.next_offset, snapshot)


def sync_directory(directory: Path) -> None:
    """So that a name in it outlives a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

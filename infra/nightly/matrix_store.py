"""A matrix on disk while it is made: its pieces, and beside each partition's the state to go on from.

    plan.json   pieces/p03-000004.parquet   state/p03   warm/p03.river   manifest.json, written last   report.md

A piece gets its name once it is whole and on disk, and only then the state behind it is put in place: a process that is
killed at any moment leaves at most one piece that is written again, with the same bytes.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from infra.failpoints import hit
from infra.nightly.plan import PLAN, MatrixManifest, PieceFile, Plan, canonical, read_manifest, replaced
from schemas.errors import InputError, RecoveryError
from streams.matrix_files import encoded
from streams.nightly import MatrixRows, Reached

DIGEST: Final = 32


class _State(Struct, frozen=True, kw_only=True):
    plan: str
    reached: Reached
    pieces: tuple[PieceFile, ...]


_DECODER: Final = msgspec.msgpack.Decoder(_State)


def open_directory(directory: Path, plan: Plan) -> MatrixManifest | None:
    """Take a directory for this plan; the manifest where the matrix is finished. `InputError` where it holds another one.

    Nobody else may be writing it.
    """
    path = directory / PLAN
    _drop(directory.glob(f".{PLAN}.*.new"))
    if path.exists() and path.read_bytes() != canonical(plan):
        raise InputError(
            f"{directory} holds the matrix of another plan (other offsets, symbols, horizon, code or libraries: compare its "
            f"{PLAN}); name another directory by --into, or throw this one away"
        )
    if not path.exists():
        if directory.exists() and any(directory.iterdir()):
            raise InputError(
                f"{directory}: expected a matrix or nothing, found files without a {PLAN}; name another --into"
            )
        replaced(path, canonical(plan))
    _drop(directory.rglob(".*.new"))
    return read_manifest(directory)


def _drop(drafts: Iterable[Path]) -> None:
    """A process that was killed while it wrote has left its draft behind."""
    for draft in list(drafts):
        draft.unlink(missing_ok=True)


@dataclass(slots=True)
class PartitionPieces:
    """`streams.nightly.PieceStore` of one partition. `plan_id`: of the plan, hashed once."""

    directory: Path
    partition: int
    plan: Plan
    plan_id: str
    pieces: list[PieceFile] = field(default_factory=list)

    def reached(self) -> Reached | None:
        """The state behind the last piece. `RecoveryError` where it is torn, or a piece that it knows is gone or altered."""
        if not self._state_path.exists():
            return None
        state = self._read()
        for piece in state.pieces:
            path = self.directory / piece.file
            if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != piece.sha256:
                raise RecoveryError(path, "not the piece that was written", self._todo)
        self.pieces = list(state.pieces)
        return state.reached

    def put(self, number: int, rows: MatrixRows, after: Reached) -> None:
        """Write a piece (none without rows), then the state behind it."""
        hit("nightly.before_piece")
        if len(rows):
            content = encoded(rows, self.plan.features, self.plan.horizon_ns)
            name = f"pieces/p{self.partition:02d}-{number:06d}.parquet"
            replaced(self.directory / name, content)
            first = number * self.plan.piece
            self.pieces.append(
                PieceFile(
                    file=name, partition=self.partition, first=first, end=first + self.plan.piece, rows=len(rows),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
            )  # fmt: skip
        hit("nightly.after_piece")
        payload = msgspec.msgpack.encode(_State(plan=self.plan_id, reached=after, pieces=tuple(self.pieces)))
        replaced(self._state_path, hashlib.sha256(payload).digest() + payload)

    @property
    def _state_path(self) -> Path:
        return self.directory / "state" / f"p{self.partition:02d}"

    @property
    def _todo(self) -> str:
        return f"throw {self.directory} away and run `tickwire nightly` again"

    def _read(self) -> _State:
        raw = self._state_path.read_bytes()
        digest, payload = raw[:DIGEST], raw[DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            raise RecoveryError(self._state_path, f"{len(raw)} bytes that are torn or altered", self._todo)
        state = _DECODER.decode(payload)
        if state.plan != self.plan_id:
            raise RecoveryError(self._state_path, f"the state of plan {state.plan}, not of {self.plan_id}", self._todo)
        return state


def warm_path(directory: Path, partition: int) -> Path:
    """Where the learner of a partition lies, as it was at the end of its span."""
    return directory / "warm" / f"p{partition:02d}.river"

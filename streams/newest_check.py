"""The newest row of every symbol, as the store of newest rows has it, against what the fold says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from processors.shard import ShardOutput
from schemas.rows import Latest
from streams.messages import MessageMaker
from streams.model_runs import Scored
from streams.verdict import Verdict

TABLE: Final = "redis"
_DECODER: Final = msgspec.json.Decoder(Latest)


@dataclass(frozen=True, slots=True)
class NewestRead:
    """What was read. rows: by symbol. kept_since_ms: broker's time since when nothing was forgotten; older may be missing."""

    rows: Mapping[str, Latest]
    kept_since_ms: int


@dataclass
class NewestCheck:
    """One partition's symbols. `position`: rows below it had been written when `read` was read."""

    read: NewestRead
    log_id: str
    partition: int
    position: int
    verdict: Verdict
    names: Sequence[str] = ()
    newest: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """By symbol row: offset of its newest row below `position`, -1 for none."""
    broker_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._mine = {
            row.src_offset: row
            for row in self.read.rows.values()
            if row.log_id == self.log_id and row.src_partition == self.partition
        }

    @property
    def cuts(self) -> Sequence[int]:
        """Stretches have to end here, so that the newest row of a stretch is the one that was stored."""
        return sorted({self.position, *(offset + 1 for offset in self._mine)})

    @property
    def end(self) -> int:
        """The fold has to come this far."""
        return max((offset + 1 for offset in self._mine), default=0)

    def note(self, output: ShardOutput, maker: MessageMaker, scored: Scored) -> None:
        """Take the rows of a stretch that lies between two cuts."""
        if not len(output.folded):
            return
        self._grow(output.names)
        offsets = output.stretch.offsets[output.folded]
        if offsets[-1] < self.position:
            self.newest[output.batch.symbol] = offsets
            self.broker_ms[output.batch.symbol] = output.stretch.ts_broker[output.folded]
        stored = self._mine.get(int(offsets[-1]))
        if stored is not None:
            for expected in maker.latest(output):
                if expected.symbol == stored.symbol:
                    self._compare(expected, stored, scored)

    def finish(self) -> None:
        """Report what is stale, missing, or was never said."""
        for row, symbol in enumerate(self.names):
            if self.newest[row] >= 0:
                self._judge(symbol, int(self.newest[row]), int(self.broker_ms[row]))
        for stored in self._mine.values():
            if stored.symbol not in self.seen:
                self._wrong(
                    "unexpected", stored.src_offset, stored.symbol, "no such row", f"offset {stored.src_offset}"
                )

    def _judge(self, symbol: str, newest: int, broker_ms: int) -> None:
        self.verdict.rows[TABLE] += 1
        stored = self.read.rows.get(symbol)
        if stored is None:
            if broker_ms < self.read.kept_since_ms:
                self.verdict.not_compared[TABLE, "row", "forgotten since, or the store was started after it"] += 1
            else:
                self._wrong("lost", newest, symbol, f"offset {newest}", "nothing")
        elif stored.log_id != self.log_id or stored.src_partition != self.partition:
            self._wrong("differs", newest, symbol, f"log {self.log_id}", f"log {stored.log_id}")
        elif stored.src_offset < newest:
            self._wrong("differs", newest, symbol, f"offset {newest}", f"offset {stored.src_offset}, which is stale")

    def _compare(self, expected: Latest, stored: Latest, scored: Scored) -> None:
        self.seen.add(stored.symbol)
        if not scored.comparable:
            return
        wanted, there = _fields(_DECODER.decode(msgspec.json.encode(expected))), _fields(stored)
        skipped = {"seq"} if scored.known else {"seq", "onnx", "p_up"}  # the numbers depend on where the fold began
        differing = sorted(
            name for name in wanted.keys() | there.keys() if name not in skipped and wanted.get(name) != there.get(name)
        )
        self.verdict.wrong += bool(differing)
        for name in differing:
            told = repr(wanted.get(name)), repr(there.get(name))
            self.verdict.find("differs", TABLE, self.partition, stored.src_offset, f"{stored.symbol} {name}", *told)

    def _wrong(self, what: str, offset: int, column: str, expected: str, found: str) -> None:
        self.verdict.wrong += 1
        self.verdict.find(what, TABLE, self.partition, offset, column, expected, found)

    def _grow(self, names: Sequence[str]) -> None:
        if len(names) > len(self.newest):
            room = np.full(len(names) - len(self.newest), -1, np.int64)
            self.newest, self.broker_ms = np.concatenate([self.newest, room]), np.concatenate([self.broker_ms, room])
        self.names = names


def _fields(row: Latest) -> dict[str, object]:
    """Every field and every feature by name."""
    fields = {name: getattr(row, name) for name in Latest.__struct_fields__ if name != "features"}
    return fields | {f"features.{name}": value for name, value in row.features.items()}

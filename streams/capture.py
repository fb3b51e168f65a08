"""What one client of the feed received, kept as JSON lines, against what the fold says.

A line is one frame as the server sent it (a JSON array of messages) or one message. Numbers that the feed skipped and said
so (`conflated`, `gap`) are excused; what it skipped without a word is a gap.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.rows import Prediction
from streams.columns import Block, Column
from streams.comparison import compare
from streams.model_runs import ModelRuns
from streams.verdict import Verdict

TABLE: Final = "feed"
CHANNEL: Final = "predictions"
RECORD: Final = np.dtype(
    [(name, "<i8") for name in ("src_offset", "symbol", "ts_event")]
    + [(name, "<f8") for name in ("price", "p_up", "online", "onnx")]
)  # fmt: skip
FLUSH: Final = 10_000
_DECODER: Final = msgspec.json.Decoder(Prediction)


class _Message(msgspec.Struct):
    type: str
    channel: str = ""
    symbol: str = ""
    seq: int = 0
    conflated: int = 0
    prev: int | None = None
    to: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


_FRAME: Final = msgspec.json.Decoder(list[_Message])
_ONE: Final = msgspec.json.Decoder(_Message)


@dataclass
class FeedCheck:
    """Reads the capture once, keeps its predictions on disk by partition, and compares them chunk by chunk."""

    log_id: str
    verdict: Verdict
    symbols: dict[str, int] = field(default_factory=dict)
    _given: dict[tuple[str, str], int] = field(default_factory=dict)
    """(channel, symbol) to the last seq that was given or excused, in this connection."""
    _waiting: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    _files: dict[int, IO[bytes]] = field(default_factory=dict)
    _records: dict[int, NDArray[Any]] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> None:
        """Take all frames, in the order in which they came. `InputError` for a line that is no frame of ours."""
        for number, line in enumerate(lines, 1):
            for message in _messages(line, number):
                self._hear(message)
        for partition in list(self._waiting):
            self._flush(partition)
        for partition, file in self._files.items():
            file.seek(0)
            records = np.memmap(file, RECORD, "r")
            self._records[partition] = np.argsort(records["src_offset"], kind="stable")

    def judge(self, partition: int, span: tuple[int, int], expected: Block, runs: ModelRuns) -> None:
        """Compare what was received of the offsets `span` with the predictions that the fold made of them."""
        found = self._between(partition, *span)
        if not found:
            return
        self.verdict.rows[TABLE] += len(np.unique(np.asarray(found["src_offset"])))
        if expected:
            wanted = np.isin(np.asarray(expected["src_offset"]), np.asarray(found["src_offset"]))
            unknown = {
                name: mask[wanted]
                for name, mask in runs.unknown("predictions", expected, ()).items()
                if name in RECORD.fields  # type: ignore[operator]
            }
            rows = _chosen(expected, wanted)
        else:
            rows, unknown = {}, {}
        compared = compare(TABLE, rows, found, unknown=unknown)
        self.verdict.take(TABLE, partition, compared, frozenset(), runs.why)

    def close(self) -> None:
        """Throw away what was kept on disk."""
        self._records.clear()
        for file in self._files.values():
            file.close()

    def _hear(self, message: _Message) -> None:
        stream = (message.channel, message.symbol)
        if message.type == "welcome":
            self._given.clear()  # another connection, and perhaps another epoch, counts anew
        elif message.type == "snapshot":
            self._given[stream] = message.seq
            self._keep(message)
        elif message.type == "gap":
            self._given[stream] = message.to
        elif message.type in ("update", "revise"):
            follows = message.seq - message.conflated - 1 if message.prev is None else message.prev
            skipped = follows - self._given.get(stream, follows)
            if skipped > 0:
                self.verdict.gaps += skipped
                self.verdict.find(
                    "gap", TABLE, -1, message.seq, message.symbol, f"{skipped} messages of {message.channel}", "no word"
                )
            self._given[stream] = message.seq
            self._keep(message)

    def _keep(self, message: _Message) -> None:
        if message.channel != CHANNEL:
            return
        row = _DECODER.decode(message.data)
        if row.log_id != self.log_id:
            self.verdict.not_compared[TABLE, "row", f"of log {row.log_id}"] += 1
            return
        if message.type == "snapshot":
            return  # it repeats what an update said before
        values = [np.nan if x is None else x for x in (row.price, row.p_up, row.online, row.onnx)]
        symbol = self.symbols.setdefault(row.symbol, len(self.symbols))
        waiting = self._waiting.setdefault(row.src_partition, [])
        waiting.append((row.src_offset, symbol, row.ts_event, *values))
        if len(waiting) >= FLUSH:
            self._flush(row.src_partition)

    def _flush(self, partition: int) -> None:
        if partition not in self._files:
            self._files[partition] = tempfile.TemporaryFile()  # noqa: SIM115 (close closes it)
        self._files[partition].write(np.array(self._waiting.pop(partition), RECORD).tobytes())

    def _between(self, partition: int, first: int, end: int) -> Mapping[str, Column]:
        if partition not in self._files:
            return {}
        file = self._files[partition]
        file.flush()
        records, order = np.memmap(file, RECORD, "r"), self._records[partition]
        offsets = records["src_offset"]
        start, stop = np.searchsorted(offsets, [first, end], sorter=order)
        chosen = np.array(records[order[start:stop]])
        if not len(chosen):
            return {}
        columns: dict[str, Column] = {name: np.ascontiguousarray(chosen[name]) for name in RECORD.names or ()}
        columns["symbol"] = (np.ascontiguousarray(chosen["symbol"]), list(self.symbols))
        return columns


def _messages(line: bytes, number: int) -> Iterator[_Message]:
    try:
        if line.lstrip().startswith(b"["):
            yield from _FRAME.decode(line)
        elif line.strip():
            yield _ONE.decode(line)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"line {number} of the capture: expected a frame of the feed, found {line[:80]!r}: {error}"
        ) from error


def _chosen(block: Block, rows: NDArray[np.bool_]) -> Block:
    chosen: Block = {}
    for name in RECORD.names or ():
        column = block[name]
        if isinstance(column, tuple):
            chosen[name] = (column[0][rows], column[1])
        else:
            chosen[name] = np.asarray(column)[rows]
    return chosen

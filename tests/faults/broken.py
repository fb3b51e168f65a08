"""The scoring process with one protection taken out, to show that the checker would notice.

    python -m tests.faults.broken NAME      as `tickwire score`, by the same settings

`none` takes nothing out: the same flow under the same faults, as a control. Polls are short (POLL records) and rows are
stored at once, so that a few thousand events make hundreds of blocks to break.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from bytewax.outputs import DynamicSink, StatefulSinkPartition, StatelessSinkPartition

import infra.score
import infra.start
import infra.tables
import infra.writers
import streams.blocks
import streams.bytewax_io
from infra.cli.main import main as tickwire
from infra.writers import Lease
from processors.shard import ShardOutput
from schemas.rows import SCORE_STATUS_KEY
from streams.blocks import BlockBuffer
from streams.bytewax_io import TableSink

STORE_EVERY_S: Final = 0.02
POLL: Final = "POLL"
"""Variable: records of a poll."""
REBUILD: Final = "REBUILD"
"""Variable: begin without the state of a process before."""
GROUP: Final = "STATUS_GROUP"
"""Variable: under which name this very process tells how far it is."""


class _StatelessRows(StatelessSinkPartition[ShardOutput]):  # type: ignore[misc]
    def __init__(self, buffer: BlockBuffer) -> None:
        self._buffer = buffer

    def write_batch(self, items: list[Any]) -> None:
        for _, output in items:
            self._buffer.add(output)


class StatelessTableSink(DynamicSink[ShardOutput]):  # type: ignore[misc]
    """Bytewax asks no stateless sink for a snapshot: it commits an epoch whose rows are still on their way."""

    def __init__(self, partitions: list[int], buffer: BlockBuffer) -> None:
        self._partitions, self._buffer = partitions, buffer

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _StatelessRows:
        for partition in self._partitions:
            self._buffer.open(partition)
        return _StatelessRows(self._buffer)


def stateless_sink() -> None:
    """What is stored is no part of an epoch, and nobody asks at the start whether state is ahead of it."""
    vars(infra.score)["TableSink"] = StatelessTableSink
    vars(infra.start)["_held"] = lambda *_: None


class _NumberedEpochs:
    """Tokens made of the number of the epoch and of the block within it, as a sink that counts epochs would make them."""

    epoch = 0
    blocks: Mapping[str, int] = {}

    def token(self, log_id: str, block: Mapping[str, Any]) -> str:
        columns = "-".join(sorted(block))
        number = self.blocks.get(columns, 0)
        self.blocks = {**self.blocks, columns: number + 1}
        return f"{log_id}/{self.epoch}/{number}"

    def ended(self) -> int:
        self.epoch, self.blocks = self.epoch + 1, {}
        return self.epoch


class _CountingRows(StatefulSinkPartition[ShardOutput, int]):  # type: ignore[misc]
    def __init__(self, inner: Any, epochs: _NumberedEpochs, first: bool) -> None:
        self._inner, self._epochs, self._first = inner, epochs, first

    def write_batch(self, values: list[ShardOutput]) -> None:
        self._inner.write_batch(values)

    def snapshot(self) -> int:
        self._inner.snapshot()
        return self._epochs.ended() if self._first else self._epochs.epoch

    def close(self) -> None:
        self._inner.close()


def epoch_token() -> None:
    """An epoch that is replayed has its number again, and other rows."""
    epochs = _NumberedEpochs()

    class EpochTableSink(TableSink):
        def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Any:
            first = int(for_part) == self._partitions[0]
            if first and resume_state is not None:
                epochs.epoch = resume_state
            return _CountingRows(super().build_part(step_id, for_part, None), epochs, first)

    vars(infra.score)["TableSink"] = EpochTableSink
    streams.blocks._token = epochs.token


def no_high_water() -> None:
    """What is stored already is stored again."""
    infra.tables.ClickHouseTables.high_waters = lambda _, names, __: dict.fromkeys(names, -1)  # type: ignore[method-assign]


def empty_max() -> None:
    """`max` of an empty table is 0, and 0 is an offset."""
    asked = infra.tables.ClickHouseTables.high_waters
    infra.tables.ClickHouseTables.high_waters = lambda *which: {  # type: ignore[method-assign]
        table: max(offset, 0) for table, offset in asked(*which).items()
    }


def no_fencing() -> None:
    """Whoever starts may write at once, nobody is shut out, and whoever wakes up goes on writing."""
    vars(infra.writers)["shut_out"] = lambda *_: None
    for method in ("_outwait", "_lose", "ensure", "check", "wait"):
        setattr(Lease, method, lambda *_: None)


BUILDS: Final[Mapping[str, Callable[[], None]]] = {
    "none": lambda: None, "stateless_sink": stateless_sink, "epoch_token": epoch_token, "no_high_water": no_high_water,
    "empty_max": empty_max, "no_fencing": no_fencing,
}  # fmt: skip


def main() -> None:
    BUILDS[sys.argv[1]]()
    vars(streams.bytewax_io)["MOST_POLLED"] = int(os.environ.get(POLL, "50"))
    vars(streams.blocks).update(STORE_EVERY_S=STORE_EVERY_S, FEW=0)
    vars(infra.score)["SCORE_STATUS_KEY"] = SCORE_STATUS_KEY.replace("{group}", os.environ[GROUP])
    sys.argv[1:] = ["score", *(["--rebuild"] if REBUILD in os.environ else [])]
    tickwire()


if __name__ == "__main__":
    main()

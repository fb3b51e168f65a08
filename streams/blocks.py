"""Rows on their way to ClickHouse: gathered within an epoch, stored before the epoch is committed.

Bytewax asks a sink for its snapshot at the end of every epoch, before it commits the epoch. Everything pending is stored
by then, so a process that dies has lost nothing: what was pending belongs to an epoch that will be replayed. Large
amounts are stored earlier, by a thread of their own, while the fold goes on.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Final

import numpy as np

from processors.shard import ShardOutput
from streams.ports import Meter, TableStore
from streams.rows import Block, RowMaker, chosen, joined

MOST_ROWS: Final = 32_768
"""Feature rows that are gathered before they are handed to the writing thread."""
IN_FLIGHT: Final = 2
DAY_MS: Final = 86_400_000
STAGE: Final = "tickwire_score_stage_seconds"


class BlockBuffer:
    """Blocks of all partitions of one process; rows that a predecessor had stored are skipped."""

    def __init__(self, store: TableStore, maker: RowMaker, tables: Sequence[str], meter: Meter) -> None:
        self._store, self._maker, self._tables, self._meter = store, maker, tables, meter
        self._stored: dict[tuple[str, int], int] = {}
        self._pending: dict[str, list[Block]] = {}
        self._rows = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")
        self._in_flight: deque[Future[None]] = deque()

    def open(self, partition: int) -> None:
        """Learn what of this partition is stored already."""
        for table in self._tables:
            self._stored[table, partition] = self._store.high_water(table, partition)

    def add(self, output: ShardOutput) -> None:
        """Take the rows of one stretch; blocks while two earlier amounts are still being stored."""
        began = perf_counter()
        for table, block in self._maker.blocks(output).items():
            new = self._unstored(table, output.partition, block)
            if new is not None:
                self._pending.setdefault(table, []).append(new)
        self._rows += len(output.folded)
        self._meter.observe(STAGE, perf_counter() - began, stage="blocks")
        if self._rows >= MOST_ROWS:
            self._submit()
            self._wait(IN_FLIGHT)

    def flush(self) -> None:
        """Return when everything taken so far is stored."""
        self._submit()
        self._wait(0)

    def _wait(self, still: int) -> None:
        """Return when at most so many amounts are still being stored."""
        began = perf_counter()
        while len(self._in_flight) > still:
            self._in_flight.popleft().result()
        self._meter.observe(STAGE, perf_counter() - began, stage="clickhouse_wait")

    def close(self) -> None:
        """Forget what is pending: its epoch was not committed."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    def _unstored(self, table: str, partition: int, block: Block) -> Block | None:
        offsets = np.asarray(block["src_offset"])
        stored = self._stored[table, partition]
        if offsets[0] > stored:
            return block
        rows = offsets > stored
        return chosen(block, rows) if rows.any() else None

    def _submit(self) -> None:
        if self._pending:
            self._in_flight.append(self._writer.submit(self._write, self._pending))
            self._pending, self._rows = {}, 0

    def _write(self, pending: Mapping[str, list[Block]]) -> None:
        began = perf_counter()
        for table, blocks in pending.items():
            for block in _by_day(joined(blocks)):
                self._store.insert(table, block, _token(self._maker.log_id, block))
                self._meter.count("tickwire_clickhouse_rows_total", len(block["src_offset"]), table=table)
        self._meter.observe(STAGE, perf_counter() - began, stage="clickhouse")


def _by_day(block: Block) -> list[Block]:
    """One block per day of the broker's clock: a table's part, so that each is stored whole or not at all."""
    day = np.asarray(block["ts_broker"]) // DAY_MS
    if day[0] == day[-1] and (day == day[0]).all():
        return [block]
    return [chosen(block, day == each) for each in np.unique(day)]


def _token(log_id: str, block: Block) -> str:
    """Names the log records behind the rows: the same rows have the same token, whenever they are stored."""
    partition, offset = np.asarray(block["src_partition"]), np.asarray(block["src_offset"])
    ranges = []
    for each in np.unique(partition):
        of_partition = offset[partition == each]
        ranges.append(f"{each}:{of_partition.min()}-{of_partition.max()}x{len(of_partition)}")
    return f"{log_id}/{'/'.join(ranges)}"

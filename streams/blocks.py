"""Rows on their way to ClickHouse: stored by a thread of their own while the fold goes on, all of them before an epoch
is committed.

Bytewax asks a sink for its snapshot at the end of every epoch, before it commits the epoch. Everything pending is stored
by then, so a process that dies has lost nothing: what was pending belongs to an epoch that will be replayed.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final

import numpy as np

from processors.columns import LogStretch
from processors.shard import ShardOutput
from streams.columns import Block, chosen, joined
from streams.ports import Meter, TableStore
from streams.rows import RowMaker

STORE_EVERY_S: Final = 0.5
"""How long rows are gathered before they are stored: ClickHouse wants few large blocks."""
FEW: Final = 256
"""Rows of a table that are worth no insert yet: it costs the server as much as one of many, and is one more part to hold."""
FEW_EVERY_S: Final = 2.0
"""How long they are gathered at most; the end of an epoch is mostly sooner."""
MOST_ROWS: Final = 32_768
"""Feature rows that are stored sooner; the fold waits while twice as many are pending."""
AT_ONCE: Final = 2
"""Tables that are stored at the same time."""
DAY_MS: Final = 86_400_000
STAGE: Final = "tickwire_score_stage_seconds"


class BlockBuffer:
    """Blocks of all partitions of one process; rows that a predecessor had stored are skipped."""

    def __init__(self, store: TableStore, maker: RowMaker, tables: Sequence[str], meter: Meter) -> None:
        self._store, self._maker, self._tables, self._meter = store, maker, tables, meter
        self._high_water: dict[tuple[str, int], int] = {}
        self._taken: dict[int, int] = {}
        self._sure: dict[int, int] = {}
        self._pending: dict[str, list[Block]] = {}
        self._since: dict[str, float] = {}
        self._rows = 0
        self._storing = False
        self._hurry = False
        self._failed: BaseException | None = None
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="clickhouse")
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="blocks", daemon=True)
        self._thread.start()

    def open(self, partition: int) -> None:
        """Learn what of this partition is stored already."""
        for table, offset in self._store.high_waters(self._tables, partition).items():
            self._high_water[table, partition] = offset

    def found(self, table: str, partition: int) -> int:
        """The newest offset that a table of an opened partition had then, -1 where it had none."""
        return self._high_water[table, partition]

    def stored(self, partition: int) -> int:
        """Every row of source offsets up to this one is in ClickHouse for certain; -1 before anything was taken.

        What lies before the first stretch belongs to epochs that were committed, and so was stored.
        """
        return self._sure.get(partition, -1)

    def add(self, output: ShardOutput) -> None:
        """Take the rows of one stretch. Raises what the storing thread died of."""
        began = perf_counter()
        made = {
            table: new
            for table, block in self._maker.blocks(output).items()
            if (new := self._unstored(table, output.partition, block)) is not None
        }
        self._meter.observe(STAGE, perf_counter() - began, stage="blocks")
        with self._changed:
            self._wait_for(lambda: self._rows < 2 * MOST_ROWS)
            self._note(output)
            for table, block in made.items():
                self._pending.setdefault(table, []).append(block)
                self._since.setdefault(table, began)
            self._rows += _weight(made)
            if self._rows >= MOST_ROWS:
                self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything taken so far is stored. Raises what the storing thread died of."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._wait_for(lambda: not self._pending and not self._storing)
            self._hurry = False

    def close(self) -> None:
        """Store nothing more: what is pending belongs to an epoch that was not committed. Returns when no insert runs."""
        with self._changed:
            self._closed, self._pending = True, {}
            self._changed.notify_all()
        self._store.give_up()
        self._pool.shutdown(cancel_futures=True)
        self._thread.join()

    def _note(self, output: ShardOutput) -> None:
        if len(output.stretch.offsets) or output.stretch.rejected:
            first, last = _span(output.stretch)
            self._sure.setdefault(output.partition, first - 1)
            self._taken[output.partition] = last

    def _wait_for(self, done: Callable[[], bool]) -> None:
        began = perf_counter()
        self._changed.wait_for(lambda: self._failed is not None or done())
        self._meter.observe(STAGE, perf_counter() - began, stage="clickhouse_wait")
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        """Store what is pending, at the latest every STORE_EVERY_S, until the process ends or an insert fails."""
        while self._failed is None and not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._hurry or self._closed or self._rows >= MOST_ROWS, STORE_EVERY_S)
                pending = self._due()
                taken = {} if self._pending else dict(self._taken)
                self._storing = bool(pending)
                self._changed.notify_all()
            try:
                self._write(pending)
                self._sure.update(taken)
            except BaseException as error:
                self._failed = error
            with self._changed:
                self._storing = False
                self._changed.notify_all()

    def _due(self) -> dict[str, list[Block]]:
        """Take what is to be stored now: all of it, or all but the tables of which few rows have come."""
        whole, late = self._hurry or self._rows >= MOST_ROWS, perf_counter() - FEW_EVERY_S
        due = {
            table: blocks
            for table, blocks in self._pending.items()
            if whole or self._since[table] <= late or sum(map(_length, blocks)) >= FEW
        }
        for table in due:
            del self._pending[table], self._since[table]
        self._rows = sum(_weight({table: block}) for table, blocks in self._pending.items() for block in blocks)
        return due

    def _unstored(self, table: str, partition: int, block: Block) -> Block | None:
        offsets = np.asarray(block["src_offset"])
        stored = self._high_water[table, partition]
        if offsets.min() > stored:
            return block
        rows = offsets > stored
        return chosen(block, rows) if rows.any() else None

    def _write(self, pending: Mapping[str, list[Block]]) -> None:
        if not pending:
            return
        began = perf_counter()
        list(self._pool.map(self._write_table, pending, pending.values()))
        self._meter.observe(STAGE, perf_counter() - began, stage="clickhouse")

    def _write_table(self, table: str, blocks: list[Block]) -> None:
        for block in _by_day(joined(blocks)):
            self._store.insert(table, block, _token(self._maker.log_id, block))
            self._meter.count("tickwire_clickhouse_rows_total", _length(block), table=table)


def _span(stretch: LogStretch) -> tuple[int, int]:
    """First and last offset of the records of a stretch, the rejected ones included."""
    offsets = [*stretch.offsets[[0, -1]].tolist()] if len(stretch.offsets) else []
    offsets += [stretch.rejected[0].offset, stretch.rejected[-1].offset] if stretch.rejected else []
    return min(offsets), max(offsets)


def _length(block: Block) -> int:
    return len(block["src_offset"])


def _weight(made: Mapping[str, Block]) -> int:
    """Rows that wait, as far as memory is concerned: those of the longest table, and a row for each KiB of a bad record."""
    rows = max(map(_length, made.values()), default=0)
    raw = made["dead_letters"]["raw"] if "dead_letters" in made else ()
    return rows + sum(map(len, raw)) // 1024


def _by_day(block: Block) -> list[Block]:
    """One block per day of the broker's clock: a table's part, so that each is stored whole or not at all.

    Around midnight the clocks of several producers disagree. Each block still holds only offsets behind those of the block
    before it, partition by partition: a high-water mark says that everything below it is stored.
    """
    day = np.asarray(block["ts_broker"]) // DAY_MS
    if (day == day[0]).all():
        return [block]
    partition, offset = np.asarray(block["src_partition"]), np.asarray(block["src_offset"])
    run = np.zeros(len(day), np.int64)
    for each in np.unique(partition):
        rows = np.flatnonzero(partition == each)
        rows = rows[np.argsort(offset[rows], kind="stable")]
        run[rows[1:]] = np.cumsum(day[rows[1:]] != day[rows[:-1]])
    return [
        chosen(block, (run == number) & (day == of_day))
        for number in range(int(run.max()) + 1)
        for of_day in np.unique(day[run == number])
    ]


def _token(log_id: str, block: Block) -> str:
    """Names the log records behind the rows: the same rows have the same token, whenever they are stored."""
    partition, offset = np.asarray(block["src_partition"]), np.asarray(block["src_offset"])
    ranges = []
    for each in np.unique(partition):
        of_partition = offset[partition == each]
        ranges.append(f"{each}:{of_partition.min()}-{of_partition.max()}x{len(of_partition)}")
    return f"{log_id}/{'/'.join(ranges)}"

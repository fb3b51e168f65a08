"""What a shard said, stored as ClickHouse would have it, late or early, and read back for revisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.revision import FIXES, ISSUED, TRADES, Lines
from processors.shard import FoldRules, ShardOutput
from streams.rows import RowMaker
from tests.fakes import ListStore

KINDS = [kind.name for kind in FoldRules().bars]
LOG = "test-log"
Row = dict[str, Any]


def row_maker() -> RowMaker:
    return RowMaker(LOG, FEATURE_NAMES, FEATURES_ID, KINDS)


@dataclass
class StoredRows:
    """Rows of the tables that revisions read, by name; rows at or below the high-water mark are skipped."""

    tables: dict[str, list[Row]] = field(default_factory=lambda: {"trades": [], "corrections": [], "bars": []})
    maker: RowMaker = field(default_factory=row_maker)

    def put(self, output: ShardOutput) -> None:
        for table, block in self.maker.blocks(output).items():
            if table in self.tables:
                self.add(table, block)

    def add(self, table: str, block: Any) -> None:
        high_water: dict[int, int] = {}
        for row in self.tables[table]:
            high_water[row["src_partition"]] = max(row["src_offset"], high_water.get(row["src_partition"], -1))
        plain = {
            n: [c[1][i] for i in c[0]] if isinstance(c, tuple) else np.asarray(c).tolist() for n, c in block.items()
        }
        rows = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
        self.tables[table] += [row for row in rows if row["src_offset"] > high_water.get(row["src_partition"], -1)]

    def of(self, table: str, partition: int, below: int) -> list[Row]:
        return [r for r in self.tables[table] if r["src_partition"] == partition and r["src_offset"] < below]


@dataclass
class ListHistory:
    """`streams.ports.TradeHistory` over rows in lists."""

    rows: StoredRows
    asked: int = 0

    def numbered(self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int]]) -> Lines:
        self.asked += 1
        keys = {(symbols[row], seq) for row, seq in wanted}
        return self._trades([r for r in self._in_bars(partition, below) if (r["symbol"], r["seq"]) in keys], symbols)

    def spans(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int, int]]
    ) -> tuple[Lines, Lines, Sequence[int]]:
        self.asked += 1
        inside = [
            r
            for r in self._in_bars(partition, below)
            if any(symbols[row] == r["symbol"] and start <= r["ts_event"] < end for row, start, end in wanted)
        ]
        stored = [r for r in self.rows.of("corrections", partition, below) if r["symbol"] in symbols]
        fixes = [
            (
                symbols.index(r["symbol"]), r["refers_seq"], r["ts_event"], r["price"], r["size"], r["src_offset"],
                r["kind"] == "cancel",
            )
            for r in stored
            if any(symbols[row] == r["symbol"] and start <= r["ts_event"] for row, start, _ in wanted)
        ]  # fmt: skip
        newest = [max((r["ts_event"] for r in stored if r["symbol"] == symbol), default=-1) for symbol in symbols]
        return self._trades(inside, symbols), np.array(fixes, FIXES), newest

    def issued(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, str, int]]
    ) -> Lines:
        found = []
        for at, (row, kind, start) in enumerate(wanted):
            same = [
                r
                for r in self.rows.of("bars", partition, below)
                if (r["symbol"], r["kind"], r["start"]) == (symbols[row], kind, start)
            ]
            if same:
                r = max(same, key=lambda each: each["rev"])
                numbers = tuple(r[name] for name in ("open", "high", "low", "close", "volume", "value"))
                told = (r["src_offset"], r["rev"], r["n_trades"], r["gap_ms"], r["partial"])
                found.append((row, at, start, *told, numbers))
        return np.array(found, ISSUED)

    def _in_bars(self, partition: int, below: int) -> list[Row]:
        return [r for r in self.rows.of("trades", partition, below) if r["in_bars"]]

    def _trades(self, rows: Sequence[Row], symbols: Sequence[str]) -> Lines:
        return np.array(
            [
                (symbols.index(r["symbol"]), r["seq"], r["ts_event"], r["price"], r["size"], r["src_offset"], r["late"])
                for r in rows
            ],
            TRADES,
        )


def stored_rows(store: ListStore) -> StoredRows:
    """What blocks in a list hold."""
    rows = StoredRows()
    for table, block, _ in store.inserts:
        if table in rows.tables:
            rows.add(table, block)
    return rows

"""`streams.ports.TradeHistory` over ClickHouse: what bars are made of once more.

The tables may be ahead of the fold after a restart, and behind it while blocks wait: every query is bounded by the source
offset, and copies of a row (the second net of the tables forgets them in its own time) do no harm where they are used.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
import stamina

from infra.clickhouse import Database
from infra.patience import passing
from infra.tables import PATIENCE
from processors.revision import FIXES, ISSUED, TRADES, Lines

AT_ONCE: Final = 64
MOST_CHARS: Final = 131_072
"""Conditions of one query, and how long they are together; more are asked in several. ClickHouse reads queries of 256 KiB."""
VALUES: Final = 1_000
"""Of one condition."""
NUMBERS: Final = ("open", "high", "low", "close", "volume", "value")
OURS: Final = "log_id = {log:String} AND src_partition = {partition:UInt16} AND src_offset < {below:Int64}"
STAMP: Final = "fromUnixTimestamp64Nano({})"


class ClickHouseTradeHistory:
    """Of one log, in one database; silence is waited out for `patience`."""

    def __init__(self, database: Database, name: str, log_id: str, patience: timedelta = PATIENCE) -> None:
        self._database, self._name, self._log_id, self._patience = database, name, log_id, patience

    def numbered(self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int]]) -> Lines:
        """TRADES with these (row, sequence number), in any order."""
        seqs: dict[int, list[int]] = defaultdict(list)
        for row, seq in wanted:
            seqs[row].append(seq)
        any_of = [(row, f"seq IN ({told})") for row, of_row in seqs.items() for told in _listed(map(str, of_row))]
        return self._trades(partition, below, symbols, any_of)

    def spans(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int, int]]
    ) -> tuple[Lines, Lines, Sequence[int]]:
        """TRADES stamped within (row, start, end) and FIXES stamped no earlier; the newest stamp of any fix of each symbol."""
        any_of = [
            (row, f"ts_event >= {STAMP.format(start)} AND ts_event < {STAMP.format(end)}") for row, start, end in wanted
        ]
        since: dict[int, int] = {}
        for row, start, _ in wanted:
            since[row] = min(start, since.get(row, start))
        later = [(row, f"ts_event >= {STAMP.format(start)}") for row, start in since.items()]
        fixes = _lines(
            FIXES,
            self._rows(
                "corrections", "refers_seq, ts_event, price, size, src_offset, kind = 'cancel'", partition, below, symbols,
                later,
            ),
        )  # fmt: skip
        newest = dict(
            self._rows(
                "corrections", "max(ts_event)", partition, below, symbols, [(row, "1") for row in since],
                "GROUP BY symbol",
            )
        )  # fmt: skip
        trades = self._trades(partition, below, symbols, any_of)
        return trades, fixes, [newest.get(row, -1) for row in range(len(symbols))]

    def issued(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, str, int]]
    ) -> Lines:
        """The newest revision of each (row, name of the kind, start), as ISSUED with the position in `wanted` as `kind`."""
        starts: dict[tuple[int, str], list[int]] = defaultdict(list)
        for row, kind, start in wanted:
            starts[row, kind].append(start)
        any_of = [
            (row, f"kind = '{kind}' AND start IN ({told})")
            for (row, kind), of_kind in starts.items()
            for told in _listed(map(STAMP.format, of_kind))
        ]
        found = self._rows(
            "bars", "kind, start, src_offset, rev, n_trades, gap_ms, partial, `" + "`, `".join(NUMBERS) + "`", partition,
            below, symbols, any_of, "ORDER BY rev DESC LIMIT 1 BY symbol, kind, start",
        )  # fmt: skip
        at = {key: i for i, key in enumerate(wanted)}
        lines = np.zeros(len(found), ISSUED)
        for line, (row, kind, start, *told) in zip(lines, found, strict=True):
            line["row"], line["kind"], line["start"] = row, at[row, kind, start], start
            line["offset"], line["rev"], line["n_trades"], line["gap_ms"], line["partial"] = told[:5]
            line["numbers"] = told[5:]
        return lines

    def _trades(self, partition: int, below: int, symbols: Sequence[str], any_of: Sequence[tuple[int, str]]) -> Lines:
        columns = "seq, ts_event, price, size, src_offset, late"
        within = [(row, f"in_bars AND {condition}") for row, condition in any_of]
        return _lines(TRADES, self._rows("trades", columns, partition, below, symbols, within))

    def _rows(
        self, table: str, columns: str, partition: int, below: int, symbols: Sequence[str],
        any_of: Sequence[tuple[int, str]], rest: str = "",
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        """(row of the symbol, columns …) where any of the conditions (row, SQL) holds."""
        rows: list[tuple[Any, ...]] = []
        at = {symbol: row for row, symbol in enumerate(symbols)}
        for part in _parts(any_of):
            conditions = " OR ".join(f"(symbol = {{s{i}:String}} AND {told})" for i, (_, told) in enumerate(part))
            sql = f"SELECT symbol, {columns} FROM `{self._name}`.{table} WHERE {OURS} AND ({conditions}) {rest}"  # noqa: S608
            told = {"log": self._log_id, "partition": partition, "below": below}
            named = {f"s{i}": symbols[row] for i, (row, _) in enumerate(part)}
            for attempt in stamina.retry_context(
                on=lambda error: passing(error) is not None, attempts=None, timeout=self._patience, wait_max=5.0
            ):
                with attempt:
                    found = self._database.rows(sql, {**told, **named}).rows
            rows += [(at[symbol], *values) for symbol, *values in found]
        return rows


def _listed(values: Iterable[str]) -> Iterator[str]:
    """With commas between, so many at a time."""
    told = list(values)
    return (", ".join(told[first : first + VALUES]) for first in range(0, len(told), VALUES))


def _parts(any_of: Sequence[tuple[int, str]]) -> Iterator[Sequence[tuple[int, str]]]:
    """The conditions of one query after the other."""
    part: list[tuple[int, str]] = []
    chars = 0
    for row, told in any_of:
        if part and (len(part) == AT_ONCE or chars + len(told) > MOST_CHARS):
            yield part
            part, chars = [], 0
        part.append((row, told))
        chars += len(told)
    if part:
        yield part


def _lines(dtype: np.dtype[Any], rows: Iterable[tuple[Any, ...]]) -> Lines:
    return np.array(list(rows), dtype)

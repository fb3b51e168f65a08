"""What ClickHouse holds of one log, read for verification: raw, by whole columns, a stretch of offsets at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from infra.clickhouse import Database
from schemas.tables import Table
from schemas.views import CLOSED_BY
from streams.comparison import ASKED_FOR, Stored
from streams.model_runs import Run

GENTLY: Final = "SETTINGS max_threads = 1"
"""The live system comes first."""
OF_LOG: Final = "log_id = {log:String} AND src_partition = {partition:UInt16}"
STRETCH: Final = f"{OF_LOG} AND src_offset >= {{first:Int64}} AND src_offset < {{end:Int64}}"


@dataclass(frozen=True)
class ClickHouseServed:
    """`streams.verify.Served` over ClickHouse."""

    database: Database
    name: str
    log_id: str
    tables: Mapping[str, Table]

    def rows(self, table: str, partition: int, first: int, end: int) -> Mapping[str, Stored]:
        columns = ", ".join(f"`{name}`" for name in self.tables[table].types if name not in ASKED_FOR)
        sql = f"SELECT {columns} FROM `{self.name}`.`{table}` WHERE {STRETCH} {GENTLY}"  # noqa: S608
        return self.database.arrays(sql, self._stretch(partition, first, end))

    def final_rows(self, table: str, partition: int, first: int, end: int) -> int:
        sql = f"SELECT count() FROM `{self.name}`.`{table}` FINAL WHERE {STRETCH} {GENTLY}"  # noqa: S608
        return int(self.database.rows(sql, self._stretch(partition, first, end)).rows[0][0])

    def runs(self, partition: int) -> list[Run]:
        """One a model and features where their offsets do not overlap, which is cheap to ask; else every change of them."""
        whole = self.database.rows(
            "SELECT onnx_id, features_id, min(src_offset) AS first, max(src_offset) AS last "  # noqa: S608
            f"FROM `{self.name}`.predictions WHERE {OF_LOG} GROUP BY onnx_id, features_id ORDER BY first {GENTLY}",
            {"log": self.log_id, "partition": partition},
        ).rows
        if all(one[3] < other[2] for one, other in pairwise(whole)):
            return [Run(first, onnx_id, features_id) for onnx_id, features_id, first, _ in whole]
        changes = self.database.rows(
            "SELECT src_offset, onnx_id, features_id FROM (SELECT src_offset, onnx_id, features_id, "  # noqa: S608
            "lagInFrame(concat(onnx_id, ' ', features_id)) OVER (ORDER BY src_offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) "
            f"AS before FROM `{self.name}`.predictions WHERE {OF_LOG}) "
            f"WHERE before != concat(onnx_id, ' ', features_id) ORDER BY src_offset {GENTLY}",
            {"log": self.log_id, "partition": partition},
        ).rows
        return [Run(first, onnx_id, features_id) for first, onnx_id, features_id in changes]

    def stored_to(self, table: str, partition: int) -> int:
        """Offset behind the newest row of a table; 0 where it has none."""
        sql = f"SELECT if(count() = 0, 0, max(src_offset) + 1) FROM `{self.name}`.`{table}` WHERE {OF_LOG} {GENTLY}"  # noqa: S608
        return int(self.database.rows(sql, {"log": self.log_id, "partition": partition}).rows[0][0])

    def folded(self, partition: int) -> int | None:
        """How many records the newest line of the ledger says were folded before it; None where it has no line."""
        sql = f"SELECT count(), max(folded) FROM `{self.name}`.ledger WHERE {OF_LOG} {GENTLY}"  # noqa: S608
        lines, folded = self.database.rows(sql, {"log": self.log_id, "partition": partition}).rows[0]
        return int(folded) if lines else None

    def not_newest(self) -> list[tuple[Any, ...]]:
        """Bars of which the view `bars_latest` does not show the newest revision, once: symbol, kind, start, shown, newest.

        A bar whose trades were all taken back is not to be shown.
        """
        bar, by = f"symbol, kind, start, {CLOSED_BY} AS closed_by", "GROUP BY symbol, kind, start, closed_by"
        newest = f"SELECT {bar}, max(rev) AS newest, argMax(n_trades, rev) > 0 AS whole FROM `{self.name}`.bars {by}"  # noqa: S608
        shown = f"SELECT {bar}, count() AS times, max(rev) AS rev FROM `{self.name}`.bars_latest {by}"  # noqa: S608
        return self.database.rows(
            f"SELECT symbol, kind, start, times, rev, newest FROM ({newest}) AS n LEFT JOIN ({shown}) AS s "  # noqa: S608
            "USING (symbol, kind, start, closed_by) WHERE times != whole OR (whole AND rev != newest) "
            f"LIMIT 100 {GENTLY}"
        ).rows

    def _stretch(self, partition: int, first: int, end: int) -> Mapping[str, object]:
        return {"log": self.log_id, "partition": partition, "first": first, "end": end}

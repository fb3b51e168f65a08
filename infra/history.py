"""The API's `History` over ClickHouse."""

from collections.abc import Sequence

from api.ports import Span
from infra.clickhouse import Database
from schemas.rows import Bar

COLUMNS = (
    "symbol", "kind", "start", "end", "open", "high", "low", "close", "volume", "value", "n_trades", "rev", "reason",
    "late_n", "gap_ms", "partial", "log_id", "src_partition", "src_offset",
)  # fmt: skip


class ClickHouseHistory:
    """Reads what was written for good."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name

    def bars(self, symbol: str, kind: str, span: Span) -> Sequence[Bar]:
        """The newest revision of each bar that holds a trade, ascending."""
        after = span.start - 1 if span.after is None else max(span.after, span.start - 1)
        columns = ", ".join(f"`{column}`" for column in COLUMNS)
        found = self._database.rows(
            f"SELECT {columns} FROM (SELECT {columns} FROM `{self._name}`.bars FINAL "  # noqa: S608
            "WHERE symbol = {symbol:String} AND kind = {kind:String} "
            "AND start > fromUnixTimestamp64Nano({after:Int64}) AND start < fromUnixTimestamp64Nano({end:Int64}) "
            "ORDER BY start, rev DESC LIMIT 1 BY start) WHERE n_trades > 0 ORDER BY start LIMIT {limit:UInt32}",
            {"symbol": symbol, "kind": kind, "after": after, "end": span.end, "limit": span.limit},
        )
        return [Bar(**dict(zip(COLUMNS, row, strict=True))) for row in found.rows]

    def ping(self) -> None:
        """Return if the database answers."""
        self._database.rows("SELECT 1")

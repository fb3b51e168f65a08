"""The alerts that are stored, newest first."""

from typing import Final

from infra.clickhouse import Database
from schemas.rows import Alert

FIELDS: Final = (
    "id", "rule", "symbol", "state", "value", "threshold", "log_id", "src_partition", "src_offset", "field", "severity",
    "owner", "rev",
)  # fmt: skip


def recent_alerts(
    database: Database,
    name: str,
    *,
    rule: str = "",
    symbol: str = "",
    limit: int,
    start: int = 0,
    before: int = 2**63 - 1,
) -> list[Alert]:
    """The newest ones with `start <= ts_event < before`, ns; of one rule or symbol where they are named."""
    columns = ", ".join(f"`{each}`" for each in FIELDS)
    rows = database.rows(
        f"SELECT toUnixTimestamp64Nano(ts_event) AS at, {columns} FROM `{name}`.alerts FINAL "  # noqa: S608
        "WHERE ({rule:String} = '' OR rule = {rule:String}) AND ({symbol:String} = '' OR symbol = {symbol:String}) "
        "AND at >= {start:Int64} AND at < {before:Int64} ORDER BY at DESC, src_partition, src_offset, rule "
        "LIMIT {limit:UInt32}",
        {"rule": rule, "symbol": symbol, "start": start, "before": before, "limit": limit},
    ).rows
    return [Alert(ts_event=int(at), **dict(zip(FIELDS, rest, strict=True))) for at, *rest in rows]

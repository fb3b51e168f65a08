"""Every ClickHouse view: the newest, and what was known at a moment.

Rows are never changed. A bar that is issued again is a row with a higher `rev`; a correction is a row beside its trade. A view
puts them together; the `…_as_known` ones take a moment of the broker's clock and see nothing that was written after it:

    SELECT * FROM bars_as_known(at = '2026-11-22 10:00:00.000') WHERE symbol = 'SPY' AND kind = '1m'
"""

from collections.abc import Mapping
from typing import Final

from schemas.tables import TRADES

CLOSED_BY: Final = "if(match(kind, '^[0-9]'), '', concat(log_id, '/', toString(src_offset)))"
"""Several bars by trades, volume or value can start at one stamp: the record that closed them tells them apart. They are never
issued again; a bar by time is, by other records."""
AT: Final = "ts_broker <= {at:DateTime64(3, 'UTC')}"


def views(database: str, *, parametrised: bool = True) -> Mapping[str, str]:
    """Name of every view to the statement that makes it, or makes it anew; a server older than 23.1 knows no parameters."""
    told = {"bars_latest": _bars(database, "1"), "trades_corrected": _trades(database, "1")}
    if parametrised:
        told |= {"bars_as_known": _bars(database, AT), "trades_as_known": _trades(database, AT)}
    return {name: f"CREATE OR REPLACE VIEW `{database}`.{name} AS {sql}" for name, sql in told.items()}


def _bars(database: str, known: str) -> str:
    """The newest revision of every bar; one whose trades were all taken back is none."""
    newest = (
        f"SELECT * FROM `{database}`.bars FINAL WHERE {known} "  # noqa: S608
        f"ORDER BY symbol, kind, start, rev DESC LIMIT 1 BY symbol, kind, start, {CLOSED_BY}"
    )
    return f"SELECT * FROM ({newest}) WHERE n_trades > 0"  # noqa: S608


def _trades(database: str, known: str) -> str:
    """Every trade with the price and size that the venue says by now; `status` is empty, corrected or cancelled.

    A correction means the last trade of its number stamped no later than itself; of several the last on the log holds.
    """
    columns = ", ".join(
        f"t.`{name}` AS `{name}`" if name not in {"price", "size"}
        else f"if(f.status = 'corrected', f.{name}, t.{name}) AS `{name}`"
        for name in TRADES.types
    )  # fmt: skip
    corrections = f"SELECT * FROM `{database}`.corrections FINAL WHERE {known}"  # noqa: S608
    meant = (
        f"SELECT symbol, venue, seq, ts_event, log_id, src_partition, src_offset FROM `{database}`.trades FINAL "  # noqa: S608
        f"WHERE {known} AND (symbol, seq) IN (SELECT symbol, refers_seq FROM `{database}`.corrections)"
    )
    fixes = (
        "SELECT m.log_id AS log_id, m.src_partition AS src_partition, m.src_offset AS src_offset, "  # noqa: S608
        "argMax(if(c.kind = 'cancel', 'cancelled', 'corrected'), c.src_offset) AS status, "
        "argMax(c.price, c.src_offset) AS price, argMax(c.size, c.src_offset) AS size "
        f"FROM ({corrections}) AS c ASOF INNER JOIN ({meant}) AS m ON c.log_id = m.log_id "
        "AND c.src_partition = m.src_partition AND c.symbol = m.symbol AND c.venue = m.venue AND c.refers_seq = m.seq "
        "AND c.ts_event >= m.ts_event GROUP BY m.log_id, m.src_partition, m.src_offset"
    )
    trades = f"SELECT * FROM `{database}`.trades FINAL WHERE {known}"  # noqa: S608
    return (
        f"SELECT {columns}, f.status AS status FROM ({trades}) AS t LEFT JOIN ({fixes}) AS f ON t.log_id = f.log_id "  # noqa: S608
        "AND t.src_partition = f.src_partition AND t.src_offset = f.src_offset"
    )

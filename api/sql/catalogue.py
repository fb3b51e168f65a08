"""The named queries: what people ask of the history again and again, each declared once.

`FINAL` and `LIMIT 1 BY` leave one copy of rows that were written twice around a crash. Stretches are half-open,
`start <= t < end`, and of event time; `at` is a moment of the broker's clock.
"""

from collections.abc import Mapping
from typing import Final

from api.sql.named import NamedQuery, Parameter
from api.times import from_rfc3339

BEGINNING: Final = "1970-01-01T00:00:00Z"
NEVER: Final = "2099-12-31T00:00:00Z"
_SYMBOL: Final = Parameter("symbol", "text", "case-sensitive", "SIMA")
_KIND: Final = Parameter("kind", "text", "of bar: 1s, 1m, 5m, tick100, volume10000 or value1000000", "1m", "1m")
_START: Final = Parameter(
    "start", "time", "RFC 3339, inclusive; from the first row where left out", "2026-11-22T14:30:00Z", BEGINNING
)
_END: Final = Parameter("end", "time", "RFC 3339, exclusive; to the last row where left out", NEVER, NEVER)
_AT: Final = Parameter("at", "time", "RFC 3339; rows that the broker took later are not seen", "2026-11-22T14:30:00Z")
_STRETCH: Final = (_SYMBOL, _START, _END)


def _within(column: str) -> str:
    return f"{column} >= fromUnixTimestamp64Nano({{start:Int64}}) AND {column} < fromUnixTimestamp64Nano({{end:Int64}})"


def _of_symbol(columns: str, table: str) -> str:
    return (
        f"SELECT {columns} FROM {table} WHERE symbol = {{symbol:String}} AND {_within('ts_event')} "
        "ORDER BY ts_event, src_partition, src_offset"
    )


_BAR: Final = "symbol, kind, start, end, open, high, low, close, volume, value, n_trades, rev, reason, partial"
_KNOWN: Final = "fromUnixTimestamp64Nano({at:Int64})"
_BARS: Final = f"WHERE symbol = {{symbol:String}} AND kind = {{kind:String}} AND {_within('start')} ORDER BY start"
_SCORED: Final = f"FROM outcome_scores FINAL WHERE label IN (0, 1) AND {_within('ts_event')}"
_SINCE: Final = Parameter(
    "start",
    "time",
    "RFC 3339, inclusive; an hour before the newest events where left out",
    "2026-11-22T14:30:00Z",
    NEVER,
)
_FROM: Final = (
    f"if({{start:Int64}} = {from_rfc3339(NEVER)}, (SELECT max(ts_event) FROM ledger) - INTERVAL 1 HOUR, "
    "fromUnixTimestamp64Nano({start:Int64}))"
)
_LATELY: Final = f"ts_event >= {_FROM} AND ts_broker >= {_FROM} - INTERVAL 1 DAY"
"""How new the events are is asked of the ledger, which is small: the newest of a large table is not found without reading all
of it. Nothing is stored before it happened, clocks that differ by less than a day aside: older parts are not looked at."""

_QUERIES: Final = (
    NamedQuery(
        "latest_predictions", "The newest scores of every symbol since a moment, and the record they were made from",
        "SELECT symbol, ts_event, price, p_up, champion, online, onnx, onnx_id, log_id, src_partition, src_offset "
        f"FROM predictions WHERE {_LATELY} AND (symbol, ts_event) IN (SELECT symbol, max(ts_event) FROM predictions "
        f"WHERE {_LATELY} GROUP BY symbol) ORDER BY symbol, src_offset DESC LIMIT 1 BY symbol", (_SINCE,),
    ),
    NamedQuery(
        "predictions", "Every score of a symbol in a stretch, ascending",
        _of_symbol("symbol, ts_event, price, p_up, champion, online, onnx, onnx_id", "predictions FINAL"), _STRETCH,
    ),
    NamedQuery(
        "features", "Every feature row of a symbol in a stretch, ascending; null until warm",
        _of_symbol("* EXCEPT (log_id, ts_broker)", "features FINAL"), _STRETCH,
    ),
    NamedQuery(
        "trades", "Trades of a symbol as the venue says them by now: corrected, and without those taken back",
        "SELECT symbol, venue, ts_event, price, size, side, trade_id, late, status FROM trades_corrected "
        f"WHERE symbol = {{symbol:String}} AND {_within('ts_event')} AND status != 'cancelled' "
        "ORDER BY ts_event, src_offset", _STRETCH,
    ),
    NamedQuery(
        "trades_as_known", "The same, as they were known at a moment: corrections that came later are not seen",
        "SELECT symbol, venue, ts_event, price, size, side, trade_id, late, status "
        f"FROM trades_as_known(at = {_KNOWN}) WHERE symbol = {{symbol:String}} AND {_within('ts_event')} "
        "AND status != 'cancelled' ORDER BY ts_event, src_offset", (*_STRETCH, _AT),
    ),
    NamedQuery(
        "quotes", "Every change of a symbol's best bid and offer in a stretch, ascending",
        _of_symbol("symbol, venue, ts_event, bid, bid_size, ask, ask_size, late", "quotes FINAL"), _STRETCH,
    ),
    NamedQuery(
        "news", "What each news item said about a symbol, ascending",
        _of_symbol("symbol, ts_event, sentiment, words, item_id", "news FINAL"), _STRETCH,
    ),
    NamedQuery(
        "bars", "Closed bars of a symbol, their newest revisions, ascending",
        f"SELECT {_BAR} FROM bars_latest {_BARS}", (*_STRETCH, _KIND),
    ),
    NamedQuery(
        "bars_as_known", "The same, as they were known at a moment, before later revisions",
        f"SELECT {_BAR} FROM bars_as_known(at = {_KNOWN}) {_BARS}", (*_STRETCH, _KIND, _AT),
    ),
    NamedQuery(
        "bar_revisions", "Bars of a symbol that were issued again, every revision with its reason",
        f"SELECT {_BAR}, late_n FROM bars FINAL WHERE symbol = {{symbol:String}} AND kind = {{kind:String}} AND "
        f"{_within('start')} AND start IN (SELECT start FROM bars WHERE symbol = {{symbol:String}} AND kind = "
        "{kind:String} AND rev > 0) ORDER BY start, rev", (*_STRETCH, _KIND),
    ),
    NamedQuery(
        "activity", "Trades, volume, average price by volume and price range of every symbol in a stretch",
        "SELECT symbol, count() AS trades, sum(size) AS volume, sum(price * size) / sum(size) AS vwap, min(price) AS low, "
        f"max(price) AS high FROM trades FINAL WHERE {_within('ts_event')} GROUP BY symbol ORDER BY trades DESC, symbol",
        (_START, _END),
    ),
    NamedQuery(
        "effective_spread", "What trades of a symbol cost beside the mid at their time, in basis points: count, mean, median",
        "SELECT t.symbol AS symbol, count() AS trades, avg(bps) AS mean_bps, quantile(0.5)(bps) AS median_bps FROM (SELECT "
        "t.symbol AS symbol, 2e4 * abs(t.price - (q.bid + q.ask) / 2) / ((q.bid + q.ask) / 2) AS bps FROM (SELECT * FROM trades "
        f"FINAL WHERE symbol = {{symbol:String}} AND {_within('ts_event')}) AS t ASOF JOIN (SELECT * FROM quotes FINAL WHERE "
        "symbol = {symbol:String}) AS q ON t.symbol = q.symbol AND t.ts_event >= q.ts_event) AS t GROUP BY t.symbol",
        _STRETCH,
    ),
    NamedQuery(
        "outcomes", "What came true of a symbol's sampled predictions, and what the models had said",
        "SELECT symbol, ts_event, ts_matured, horizon_ns, price, price_matured, log_return, label, void, online, onnx, onnx_id "
        f"FROM outcomes FINAL WHERE symbol = {{symbol:String}} AND {_within('ts_event')} ORDER BY ts_event, horizon_ns",
        _STRETCH,
    ),
    NamedQuery(
        "hit_rate", "How often each model was right, and its Brier score and log loss, by horizon",
        "SELECT model_id, horizon_ns, count() AS outcomes, avg(label = (score > 0.5)) AS hit_rate, "
        "avg(pow(score - label, 2)) AS brier, -avg(log(greatest(if(label = 1, score, 1 - score), 1e-15))) AS log_loss "
        f"{_SCORED} GROUP BY model_id, horizon_ns ORDER BY model_id, horizon_ns", (_START, _END),
    ),
    NamedQuery(
        "calibration", "How often the price rose where a model said so much, in tenths, at one horizon",
        "SELECT model_id, least(floor(score * 10), 9) / 10 AS said_from, count() AS outcomes, avg(score) AS said, "
        f"avg(label) AS came_true {_SCORED} AND horizon_ns = {{horizon_ns:Int64}} GROUP BY model_id, said_from "
        "ORDER BY model_id, said_from",
        (_START, _END, Parameter("horizon_ns", "integer", "of the label, in ns", 10_000_000_000, 10_000_000_000)),
    ),
    NamedQuery(
        "model_changes", "Changes of the models, newest first, with what they were refused for",
        "SELECT ts_event, action, model_id, by, why, refused, champion, onnx_id, challengers, src_partition, src_offset "
        "FROM model_changes FINAL ORDER BY ts_event DESC, src_partition",
    ),
    NamedQuery(
        "ledger", "The newest line of every partition's ledger, and whether it adds up",
        "SELECT log_id, src_partition, src_offset, ts_event, events_in, folded, duplicate, late, rejected, control, "
        "events_in = folded + duplicate + late + rejected + control AS adds_up, hex(features_hash) AS features_hash, "
        "features_id FROM ledger FINAL ORDER BY log_id, src_partition, src_offset DESC LIMIT 1 BY log_id, src_partition",
    ),
    NamedQuery(
        "ledger_lines", "Every line of one partition's ledger in a stretch, ascending",
        "SELECT ts_event, src_offset, events_in, folded, duplicate, late, rejected, control, hex(features_hash) AS "
        f"features_hash FROM ledger FINAL WHERE src_partition = {{partition:Int64}} AND {_within('ts_event')} "
        "ORDER BY log_id, src_offset",
        (Parameter("partition", "integer", "of the events topic", 0), _START, _END),
    ),
    NamedQuery(
        "dead_letters_by_reason", "How many records could not be used, by reason and source, and when the last one came",
        "SELECT reason, source, count() AS letters, max(ts_ingest) AS newest FROM dead_letters FINAL "
        "GROUP BY reason, source ORDER BY letters DESC, reason, source",
    ),
    NamedQuery(
        "dead_letters",
        "Records that could not be used for one reason, newest first, with what was wrong and their bytes in base64",
        "SELECT ts_ingest, source, src_partition, src_offset, reason, detail, base64Encode(raw) AS raw "
        "FROM dead_letters FINAL WHERE reason = {reason:String} ORDER BY ts_ingest DESC",
        (Parameter("reason", "text", "as dead_letters_by_reason lists them", "undecodable"),),
    ),
)  # fmt: skip
QUERIES: Final[Mapping[str, NamedQuery]] = {query.name: query for query in _QUERIES}

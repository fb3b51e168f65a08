"""Rows 23 to 27 and 29: what producers get wrong. Everything leaves by one door, with its reason, and moves nothing else."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from infra.kafka_writer import KafkaWriter
from processors.batch import NS
from processors.features import FEATURE_NAMES
from processors.shard import FoldRules
from schemas.events import Heartbeat, Quote, Trade
from schemas.topics import EVENTS
from tests.faults.matrix.stage import Scoring, Stage
from tests.logs import START

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
MOST_SYMBOLS = 30
SETTINGS = {"TICKWIRE_FOLD__MAX_SYMBOLS": str(MOST_SYMBOLS)}
RULES = FoldRules(max_symbols=MOST_SYMBOLS)
MINUTE = 60 * NS
VENUES = iter(f"V{i}" for i in range(100))


@dataclass
class Feed:
    """A venue of one test's own."""

    venue: str = field(default_factory=lambda: next(VENUES))

    def trade(self, seq: int, at_ns: int, symbol: str = "", **changed: Any) -> Trade:
        told: dict[str, Any] = {
            "symbol": symbol or f"{self.venue}A", "venue": self.venue, "seq": seq, "ts_event": START + at_ns,
            "ts_ingest": START + at_ns, "price": 10.0 + seq % 7, "size": 1.0 + seq % 3,
        }  # fmt: skip
        return Trade(**(told | changed))

    def trades(self, n: int, symbol: str = "", gap_ns: int = NS // 10) -> list[Trade]:
        return [self.trade(i, i * gap_ns, symbol) for i in range(1, n + 1)]

    def beat(self, at_ns: int) -> Heartbeat:
        """Nothing up to here is missing: bars of before may close."""
        return Heartbeat(venue=self.venue, seq=at_ns, ts_event=START + at_ns, ts_ingest=START + at_ns)


def reasons(shared: Stage, since: int) -> list[str]:
    rows = shared.rows(
        f"SELECT reason FROM {{db}}.dead_letters WHERE src_partition = 0 AND src_offset >= {since} ORDER BY src_offset"
    )
    return [row[0] for row in rows]


def test_a_field_more_is_ignored_and_a_field_less_or_another_version_is_a_dead_letter(
    shared: Stage, live: Scoring
) -> None:
    feed, since = Feed(), shared.ends()[0]
    good = EVENTS.encode(feed.trade(1, 0))
    shared.write_raw(
        [
            good.replace(b'"price"', b'"colour":"red","price"'),
            EVENTS.encode(feed.trade(2, NS)).replace(b'"size":3.0,', b"").replace(b',"size":3.0', b""),
            EVENTS.encode(feed.trade(3, NS)).replace(b'"price"', b'"px"'),
            EVENTS.encode(feed.trade(4, NS)).replace(b'"type":"trade"', b'"type":"trade.v2"'),
            EVENTS.encode(feed.trade(5, NS)),
        ]
    )
    shared.exact()
    assert reasons(shared, since) == ["invalid_value", "invalid_value", "unknown_type"]
    assert shared.rows(f"SELECT seq FROM {{db}}.trades WHERE venue = '{feed.venue}' ORDER BY seq") == [(1,), (5,)]


def test_two_producers_of_the_same_events_make_their_rows_once(shared: Stage, live: Scoring) -> None:
    feed = Feed()
    events = feed.trades(2_000, gap_ns=NS // 1000)

    def produce() -> None:
        writer = KafkaWriter(shared.kafka)
        for at in range(0, len(events), 50):
            writer.write(events[at : at + 50])
        writer.flush()

    producers = [threading.Thread(target=produce) for _ in range(2)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    shared.exact()
    for table in ("trades", "features", "predictions"):
        found = shared.rows(f"SELECT count() FROM {{db}}.{table} WHERE symbol = '{feed.venue}A'")
        assert found == [(2_000,)], table
    assert shared.rows(f"SELECT uniqExact(seq) FROM {{db}}.trades WHERE venue = '{feed.venue}'") == [(2_000,)]


def bars(shared: Stage, symbol: str) -> Sequence[tuple[Any, ...]]:
    columns = "kind, start, end, open, high, low, close, volume, value, n_trades, rev, partial"
    return shared.rows(
        f"SELECT {columns} FROM {{db}}.bars WHERE symbol = '{symbol}' AND kind IN ('1s', '1m', '5m') ORDER BY kind, start, rev"
    )


def test_events_out_of_order_within_the_allowed_lateness_make_the_bars_of_ordered_ones(
    shared: Stage, live: Scoring
) -> None:
    feed = Feed()
    ordered = feed.trades(1_500, f"{feed.venue}ORDERED")
    mixed = feed.trades(1_500, f"{feed.venue}MIXED")
    moved = np.arange(1_500) + np.random.default_rng(3).uniform(0, 9, 1_500)  # by 0.9 s at most, a second is allowed
    shared.write([*ordered, *(mixed[i] for i in np.argsort(moved)), feed.beat(10 * MINUTE)])
    shared.exact()
    expected = bars(shared, f"{feed.venue}ORDERED")
    assert len(expected) > 150
    assert bars(shared, f"{feed.venue}MIXED") == expected
    assert shared.rows(f"SELECT countIf(late) FROM {{db}}.trades WHERE venue = '{feed.venue}'") == [(0,)]


def test_impossible_values_are_told_with_their_reasons_and_move_no_clock(shared: Stage, live: Scoring) -> None:
    feed, since = Feed(), shared.ends()[0]
    good = [EVENTS.encode(feed.trade(1, NS, "BAD"))]

    def bad(seq: int, old: bytes, new: bytes) -> bytes:
        raw = EVENTS.encode(feed.trade(seq, 2 * NS, "BAD", price=123.0, size=321.0))
        assert old in raw
        return raw.replace(old, new)

    crossed = Quote(
        symbol="BAD", venue=feed.venue, seq=9, ts_event=START + 2 * NS, ts_ingest=START + 2 * NS, bid=2.0, bid_size=1.0,
        ask=1.0, ask_size=1.0,
    )  # fmt: skip
    cases = [
        (bad(2, b":123.0", b":NaN"), "undecodable"),
        (bad(3, b":123.0", b":Infinity"), "undecodable"),
        (bad(4, b":123.0", b":-1"), "invalid_value"),
        (bad(5, b":123.0", b":0"), "invalid_value"),
        (bad(6, b":123.0", b":1e400"), "invalid_value"),
        (bad(7, b":321.0", b":-5"), "invalid_value"),
        (bad(8, b":321.0", b":null"), "invalid_value"),
        (EVENTS.encode(crossed), "crossed_quote"),
        (EVENTS.encode(feed.trade(10, 3_600 * NS, "BAD", ts_ingest=START + 2 * NS)), "future"),
        (bad(11, b'"ts_event":', b'"ts_event":9'), "invalid_value"),
        (EVENTS.encode(feed.trade(12, 0, "BAD", ts_event=2**63 - 1, ts_ingest=START)), "invalid_value"),
        (bad(13, b'"ts_event":', b'"ts_event":-'), "invalid_value"),
    ]
    after = EVENTS.encode(feed.trade(20, 3 * NS, "BAD"))
    ancient = EVENTS.encode(feed.trade(21, 0, "BAD", ts_event=0))
    last = EVENTS.encode(feed.trade(22, 4 * NS, "BAD"))
    shared.write_raw([*good, *(raw for raw, _ in cases), after, ancient, last])
    shared.exact()
    assert reasons(shared, since) == [reason for _, reason in cases]
    # no clock was moved: each good event is folded at its own time, and one of 1970 is late
    now = shared.rows(
        "SELECT toUnixTimestamp64Nano(ts_event) FROM {db}.features WHERE symbol = 'BAD' ORDER BY src_offset"
    )
    assert [each[0] - START for each in now] == [NS, 3 * NS, 4 * NS]
    assert shared.rows("SELECT seq FROM {db}.trades WHERE symbol = 'BAD' AND late") == [(21,)]


def test_an_absurd_but_possible_print_leaves_everything_finite(shared: Stage, live: Scoring) -> None:
    feed = Feed()
    symbol, letters = f"{feed.venue}ABSURD", shared.count("dead_letters")
    absurd = [(1e4, 1.0), (1e-12, 1e-9), (1e12, 1e15), (1e-30, 1e-30), (1e308, 1e308), (5e-324, 5e-324)]
    trades = feed.trades(400, symbol)
    for at, (price, size) in enumerate(absurd):
        trades[50 + 50 * at] = feed.trade(51 + 50 * at, (51 + 50 * at) * NS // 10, symbol, price=price, size=size)
    shared.write([*trades, feed.beat(10 * MINUTE)])
    shared.exact()
    infinite = " + ".join(f"countIf(isInfinite({name}))" for name in FEATURE_NAMES)
    assert shared.rows(f"SELECT {infinite} FROM {{db}}.features WHERE symbol = '{symbol}'") == [(0,)]
    scores = "countIf(isInfinite(online) OR isNaN(online) OR isInfinite(p_up) OR isNaN(p_up))"
    assert shared.rows(f"SELECT {scores} FROM {{db}}.predictions WHERE symbol = '{symbol}'") == [(0,)]
    assert shared.count("dead_letters") == letters + 2, "neither 1e308 nor 5e-324 is a price"
    prices = "countIf(isInfinite(open) OR isInfinite(high) OR isInfinite(low) OR isInfinite(close))"
    assert shared.rows(f"SELECT {prices} FROM {{db}}.bars WHERE symbol = '{symbol}'") == [(0,)]


def test_a_flood_of_symbols_costs_the_others_nothing_and_no_metric_grows_with_it(shared: Stage, live: Scoring) -> None:
    feed, rss = Feed(), live.rss()
    series = len(live.metrics().splitlines())
    shared.write(feed.trades(100, "KNOWN"))
    shared.write([feed.trade(i, i, f"FLOOD{i}") for i in range(1, 6_001)])
    shared.write([feed.trade(1_000 + i, MINUTE + i, "KNOWN") for i in range(100)])
    shared.exact()
    assert (
        shared.rows("SELECT max(n) FROM (SELECT uniqExact(symbol) AS n FROM {db}.trades GROUP BY src_partition)")[0][0]
        <= MOST_SYMBOLS
    )
    assert shared.rows("SELECT count() FROM {db}.dead_letters WHERE reason = 'symbol_limit'")[0][0] > 5_900
    assert shared.rows("SELECT count() FROM {db}.predictions WHERE symbol = 'KNOWN'") == [(200,)]
    assert len(live.metrics().splitlines()) < series + 20
    assert live.rss() < rss + (100 << 20)

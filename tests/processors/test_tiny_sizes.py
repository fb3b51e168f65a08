"""Sizes so small that products of them are nothing: refused where nobody trades so little, and no division by nothing."""

import pytest

from processors.batch import NS
from processors.shard import Shard
from schemas.events import Event, NewsSignal, Quote, Trade
from schemas.rules import Condition
from tests.fakes import CountingLearner
from tests.logs import START, stretch
from tests.processors.rule_logs import added, rule

TINY = 5e-324


def trade(n: int, size: float) -> Trade:
    at = START + n * NS
    return Trade(symbol="A", venue="X", seq=n, ts_event=at, ts_ingest=at, price=0.4, size=size)


def quote(n: int, size: float) -> Quote:
    at = START + n * NS
    return Quote(symbol="A", venue="X", seq=n, ts_event=at, ts_ingest=at, bid=1, bid_size=size, ask=2, ask_size=size)


def news(n: int, sentiment: float) -> NewsSignal:
    at = START + n * NS
    return NewsSignal(symbol="A", venue="W", seq=n, ts_event=at, ts_ingest=at, sentiment=sentiment, item_id=str(n))


def told(*events: Event) -> list[str]:
    """Why events were refused, by a fold that has rules on what is so small."""
    rules = [rule(f, Condition(field=f, op="z_score", threshold=3, window_s=600)) for f in ("sentiment", "trade_size")]
    output = Shard(0, CountingLearner(), None).advance(stretch([*added(*rules), *events]))
    return [letter.detail for letter in output.stretch.rejected]


@pytest.mark.parametrize("size", [TINY, 1e-31])
def test_trades_and_quotes_of_less_than_anybody_trades_are_refused_and_nothing_else(size: float) -> None:
    found = told(
        trade(1, size), quote(2, 1), quote(12, size), quote(13, 0), quote(14, 0), trade(15, 1e-30), trade(26, 1)
    )
    assert len(found) == 2
    assert all("a size below 1e-30" in detail for detail in found)


def test_a_distance_in_standard_deviations_of_almost_nothing_is_none() -> None:
    sentiments = [*[0.0] * 20, 2.3e-162, 1e-162, TINY]
    assert told(trade(1, 1), *(news(n, x) for n, x in enumerate(sentiments, 2))) == []

"""A collector that starts again goes on behind the last trade on the log, and counts what nobody has any more."""

from collections.abc import Sequence
from typing import Any

import pytest

import infra.log_tail
from infra.cli import inputs
from infra.kafka import partition_of
from infra.log_tail import TAIL, trades_at_end
from infra.settings import Kafka, Settings
from schemas.errors import BackendError
from schemas.events import Event, Heartbeat, Quote, Trade
from schemas.topics import EVENTS
from streams.collectors import backfill
from tests.streams.collectors.exchange import LocalExchange, Session, running, subscriptions
from tests.streams.writers import CountingMeter, ListWriter

S = 1_000_000_000
KILLED = 1_714_564_790 * S
"""When the last trade on the log happened; the exchange's begin ten seconds later."""


def trade(seq: int, symbol: str = "BTC-USD", venue: str = "COINBASE") -> Trade:
    return Trade(symbol=symbol, venue=venue, seq=seq, ts_event=KILLED, ts_ingest=KILLED, price=1.0, size=1.0)


def collected(
    written: Sequence[Trade], history: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Event], CountingMeter]:
    """What a collector writes that finds these trades at the end of the log."""
    writer, meter = ListWriter(), CountingMeter()
    monkeypatch.setattr(inputs, "KafkaWriter", lambda _: writer)
    monkeypatch.setattr(inputs, "trades_at_end", lambda *_: list(written))
    monkeypatch.setattr(backfill, "SPACING_S", 0.0)
    with running(LocalExchange([Session([subscriptions()])], history=history)) as exchange:
        source = {"coinbase_ws": exchange.ws_url, "coinbase_rest": exchange.rest_url, "products": tuple(history)}
        settings = Settings.model_validate({"kafka": {"bootstrap": "nowhere:1"}, "source": source})
        inputs.run_coinbase(settings, meter, lambda: bool(exchange.hellos) and bool(writer.events))  # type: ignore[arg-type]
    return writer.events, meter


def numbers(events: Sequence[Event], symbol: str) -> list[int]:
    return sorted(event.seq for event in events if isinstance(event, Trade) and event.symbol == symbol)


def test_what_was_traded_since_the_last_trade_on_the_log_is_fetched_and_what_is_out_of_reach_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "MAX_PAGES", 2)
    events, meter = collected([trade(99), trade(100)], {"BTC-USD": list(range(1, 3_101))}, monkeypatch)
    assert numbers(events, "BTC-USD") == list(range(1_101, 3_101))
    assert meter.counts["tickwire_collect_recovered_total"] == 2_000
    assert meter.counts["tickwire_collect_missed_total"] == 1_000
    down, up, *_ = [event for event in events if isinstance(event, Heartbeat)]
    assert (down.state, down.ts_event, up.state) == ("down", KILLED, "up")


def test_within_reach_nothing_is_missed_and_a_product_that_the_log_does_not_know_begins_with_its_newest_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = {"BTC-USD": list(range(1, 3_101)), "ETH-USD": list(range(1, 3_101))}
    events, meter = collected([trade(100)], history, monkeypatch)
    assert numbers(events, "BTC-USD") == list(range(101, 3_101))
    assert numbers(events, "ETH-USD") == list(range(2_101, 3_101))
    assert meter.counts["tickwire_collect_missed_total"] == 0


@pytest.mark.parametrize(
    ("newest", "begin"),
    [
        pytest.param([None, None], -600, id="an empty log"),
        pytest.param([-1_000, None], -600, id="older than the history"),
        pytest.param([-90, -30], -29, id="it was cut off in the middle"),
        pytest.param([None, 70], 0, id="ahead of now"),
    ],
)
def test_a_simulated_history_begins_behind_what_is_on_the_log(
    newest: list[int | None], begin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs.time, "time_ns", lambda: KILLED)
    monkeypatch.setattr(inputs, "newest_event", lambda _, p: None if (at := newest[p]) is None else KILLED + at * S)
    settings = Settings.model_validate({"kafka": {"partitions": 2}})
    assert inputs._begin(settings, 600) == KILLED + begin * S
    assert inputs._begin(settings, 0) == KILLED


class Tail:
    """A consumer of partitions that hold these records."""

    def __init__(self, records: dict[int, list[bytes]], silent: bool = False) -> None:
        self.records, self.silent, self.at = records, silent, (0, 0)
        self.read = 0

    def get_watermark_offsets(self, partition: Any, timeout: float) -> tuple[int, int]:
        return 0, len(self.records.get(partition.partition, []))

    def assign(self, partitions: list[Any]) -> None:
        self.at = (partitions[0].partition, partitions[0].offset)

    def poll(self, timeout: float) -> "Record | None":
        if self.silent:
            return None
        partition, offset = self.at
        self.at, self.read = (partition, offset + 1), self.read + 1
        return Record(self.records[partition][offset], offset)

    def close(self) -> None:
        pass


class Record:
    def __init__(self, value: bytes, offset: int) -> None:
        self._value, self._offset = value, offset

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value


KAFKA = Kafka(bootstrap="nowhere:1", partitions=3)


def test_the_end_of_the_log_tells_the_trades_of_our_symbols_and_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    quote = Quote(
        symbol="BTC-USD", venue="COINBASE", seq=9, ts_event=1, ts_ingest=1, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0
    )
    told: list[Event] = [trade(1), *[quote] * TAIL, trade(7), trade(8, venue="X"), trade(9, symbol="ETH-USD")]
    values = [b"no event", *map(EVENTS.encode, told), b"no event"]
    tail = Tail({partition_of("BTC-USD", 3): values})
    monkeypatch.setattr(infra.log_tail, "Consumer", lambda _: tail)
    found = trades_at_end(KAFKA, "COINBASE", ["BTC-USD", "SOL-USD"])
    assert [(each.symbol, each.seq) for each in found] == [("BTC-USD", 7)]
    assert tail.read == TAIL, "what lies further back is not read"


def test_an_end_that_the_broker_does_not_give_is_not_taken_for_an_empty_log(monkeypatch: pytest.MonkeyPatch) -> None:
    tail = Tail({partition_of("BTC-USD", 3): [EVENTS.encode(trade(1))]}, silent=True)
    monkeypatch.setattr(infra.log_tail, "Consumer", lambda _: tail)
    with pytest.raises(BackendError, match="expected records up to 1"):
        trades_at_end(KAFKA, "COINBASE", ["BTC-USD"])

"""Lets the simulated exchange happen live: at the pace of the wall clock, never ahead of it."""

from collections.abc import Callable
from typing import Final

from streams.collectors.sim import SimExchange
from streams.collectors.sim_market import NS
from streams.ports import Clock, EventWriter, Meter, NewsWriter

STEP_S: Final = 0.005
CATCH_UP_NS: Final = NS
"""At most this much of its time in one write, after the broker was slow."""


def run_live(
    exchange: SimExchange, events: EventWriter, news: NewsWriter, clock: Clock, meter: Meter,
    *, stop: Callable[[], bool], step_s: float = STEP_S,
) -> None:  # fmt: skip
    """Write what the exchange says when it says it, stamped with the time of writing, until `stop` is true.

    What lies between the exchange's position and now is written first, without waiting.
    Raises: `DeliveryError` where the broker did not acknowledge; nothing is written twice then.
    """
    position = exchange.start_ns
    while not stop():
        now = clock.now_ns()
        position = max(position, min(now, position + CATCH_UP_NS))
        batch = exchange.events_until(position, ts_ingest=now)
        items = exchange.news_until(position, ts_ingest=now)
        if items:
            news.write_news(items)
        if batch:
            events.write(batch)
            meter.count("tickwire_collect_events_total", len(batch), source="sim")
        if now - position < CATCH_UP_NS:
            clock.sleep(step_s)
    events.flush()
    news.flush()

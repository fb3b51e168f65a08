"""A trading session as decoded events: IBM of 2013-10-07 where the recordings are, else one of its shape made here."""

import math
from pathlib import Path

import numpy as np

from processors.batch import NS
from schemas.events import Event, Heartbeat, NewsSignal, Quote, Trade
from streams.play import PlayOptions, play
from tests.builders import DAY_NS
from tests.conftest import recordings
from tests.streams.writers import ListWriter, WallClock

FILES = (
    "ticks/lean_usa_tick_ibm_20131007_trade.csv.gz", "quotes/lean_usa_tick_ibm_20131007_quote.csv.gz",
)  # fmt: skip
OPEN_NS = 1_381_152_600 * NS
"""2013-10-07 09:30 in New York."""


def busy_session(most: int) -> list[Event]:
    """Trades, quotes, heartbeats each second: the first `most` trades and quotes."""
    files = [recordings() / file for file in FILES]
    return _recorded(files, most) if all(file.exists() for file in files) else synthetic_session(most)


def _recorded(files: list[Path], most: int) -> list[Event]:
    writer = ListWriter()
    play(files, writer, WallClock(), PlayOptions(speed=math.inf, limit=most))
    return writer.events


def synthetic_session(most: int, seed: int = 9) -> list[Event]:
    """The shape of such a day: bursts in which stamps coincide, quotes four times as often as trades, silences of seconds."""
    rng = np.random.default_rng(seed)
    gap_ms = np.floor(rng.exponential(rng.choice([0.4, 100.0, 1_500.0], most, p=[0.55, 0.25, 0.2])))
    at = OPEN_NS + np.cumsum(gap_ms).astype(np.int64) * 1_000_000
    mid = np.round(168.0 + np.cumsum(rng.choice([-0.01, 0.0, 0.01], most, p=[0.1, 0.8, 0.1])), 2).tolist()
    what = rng.random(most)
    events: list[Event] = []
    beat = OPEN_NS // NS
    for i, now in enumerate(at.tolist()):
        while now // NS > beat:
            beat += 1
            events.append(Heartbeat(venue="USA", seq=beat, ts_event=beat * NS, ts_ingest=beat * NS, state="up"))
        same = {
            "symbol": "IBM",
            "venue": "USA",
            "seq": i + 1,
            "ts_event": now,
            "ts_ingest": now + 1_000_000,
        }
        if what[i] < 0.2:
            price, size = round(mid[i] + 0.01 * int(rng.integers(-1, 2)), 2), float(rng.integers(1, 900))
            events.append(Trade(**same, price=price, size=size, side=("buy", "sell")[int(rng.integers(2))]))
        elif what[i] < 0.2005:
            events.append(NewsSignal(**same, sentiment=float(rng.uniform(-1, 1)), item_id=f"n{i}", words=7))
        else:
            sizes = (rng.integers(1, 90, 2) * 100.0).tolist()
            events.append(Quote(**same, bid=mid[i] - 0.01, bid_size=sizes[0], ask=mid[i] + 0.01, ask_size=sizes[1]))
    return events


def sparse_day(most: int = 6_000, seed: int = 12) -> list[Event]:
    """A trade or a quote every thirteen seconds of a UTC day that has no close: more than a thousand minute bars."""
    rng = np.random.default_rng(seed)
    at = OPEN_NS // DAY_NS * DAY_NS + np.cumsum(rng.exponential(13.0, most) * NS).astype(np.int64)
    mid = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 3e-4, most))), 2).tolist()
    events: list[Event] = []
    for i, now in enumerate(at.tolist()):
        same = {"symbol": "A", "venue": "SIM", "seq": i + 1, "ts_event": now, "ts_ingest": now + 1_000_000}
        if rng.random() < 0.6:
            events.append(Trade(**same, price=mid[i], size=float(rng.integers(1, 900)), side="buy"))
        else:
            events.append(Quote(**same, bid=mid[i] - 0.01, bid_size=5.0, ask=mid[i] + 0.01, ask_size=7.0))
    return events

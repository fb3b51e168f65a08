"""Logs for tests: a seeded market of a few symbols with everything that goes wrong in one, as decoded stretches."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from processors.batch import NS
from processors.columns import LogStretch
from schemas.events import Cancel, Control, Correction, Event, Heartbeat, NewsSignal, Quote, SessionMark, Trade
from schemas.topics import EVENTS

START = 1_700_000_000 * NS


def market(n: int, *, seed: int = 7, symbols: int = 5, start: int = START, mean_gap_ms: int = 40) -> list[Event]:
    """About n events: trades, quotes, news, duplicates, late and out-of-order ones, crossed and future ones, heartbeats."""
    rng = np.random.default_rng(seed)
    price = rng.uniform(20, 200, symbols)
    seq = dict.fromkeys(range(symbols), 0)
    out: list[Event] = []
    now, beat = start, start // NS
    while len(out) < n:
        now += int(rng.exponential(mean_gap_ms) * 1e6)
        while now // NS > beat:
            beat += 1
            out.append(
                Heartbeat(
                    venue="SIM",
                    seq=beat,
                    ts_event=beat * NS,
                    ts_ingest=now,
                    state="down" if rng.random() < 0.02 else "up",
                )
            )
        s = int(rng.integers(symbols))
        price[s] *= 1 + rng.normal(0, 2e-4)
        seq[s] += 1
        out.extend(_event(rng, f"S{s}", seq[s], now, round(float(price[s]), 2)))
    return out[:n]


def _event(rng: np.random.Generator, symbol: str, seq: int, now: int, price: float) -> Iterable[Event]:
    ids = {"symbol": symbol, "venue": "SIM", "seq": seq, "ts_ingest": now + 1_000_000}
    what = rng.random()
    if what < 0.35:
        side = ("buy", "sell", "unknown")[int(rng.integers(3))]
        event: Event = Trade(
            **ids,
            ts_event=now,
            price=price,
            size=float(rng.integers(1, 500)),
            side=side,
            in_bars=bool(rng.random() > 0.02),
        )
        yield event
        if rng.random() < 0.03:
            yield event  # the same once more
    elif what < 0.9:
        spread = 0.01 * float(rng.integers(1, 5))
        crossed = rng.random() < 0.01
        bid, ask = price - spread / 2, price + spread / 2
        yield Quote(
            **ids,
            ts_event=now,
            bid=ask + 0.5 if crossed else bid,
            bid_size=float(rng.integers(0, 900)),
            ask=ask,
            ask_size=float(rng.integers(1, 900)),
        )
    elif what < 0.93:
        behind = int(rng.uniform(0, 3) * NS)
        yield Trade(**ids, ts_event=max(now - behind, 0), price=price, size=5.0)
    elif what < 0.94:
        yield Trade(**{**ids, "ts_event": now + 60 * NS}, price=price, size=5.0)
    elif what < 0.97:
        yield NewsSignal(
            **{**ids, "venue": "WIRE", "seq": int(rng.integers(2**60))},
            ts_event=now,
            sentiment=float(rng.uniform(-1, 1)),
            item_id=f"n{seq}",
            words=9,
        )
    elif what < 0.98:
        yield Correction(**ids, ts_event=now, refers_seq=max(seq - 3, 0), price=price, size=7.0)
    elif what < 0.99:
        yield Cancel(**ids, ts_event=now, refers_seq=max(seq - 3, 0))
    elif what < 0.995:
        state: Literal["halt", "resume"] = "resume" if seq % 4 else "halt"
        yield SessionMark(venue="SIM", seq=seq, ts_event=now, ts_ingest=now, state=state, symbol=symbol)
    else:
        yield Control(topic="models", id="m", ts_event=now, ts_ingest=now, body="{}")


def stretch(events: Sequence[Event], first_offset: int = 0, *, broker_ms: int | None = None) -> LogStretch:
    """The events as consecutive records of a partition; the broker's time is that of their arrival."""
    arrived = [event.ts_ingest // 1_000_000 if broker_ms is None else broker_ms for event in events]
    return LogStretch(
        events=list(events),
        raw=[EVENTS.encode(event) for event in events],
        offsets=np.arange(first_offset, first_offset + len(events), dtype=np.int64),
        ts_broker=np.array(arrived, np.int64),
        rejected=[],
        rejected_broker=np.empty(0, np.int64),
    )

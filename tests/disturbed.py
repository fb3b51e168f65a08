"""A session as the venue meant it, and as it arrives: late, corrected, cancelled, twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from processors.batch import NS
from schemas.events import Cancel, Correction, Event, Heartbeat, Trade
from tests.logs import START


@dataclass(frozen=True)
class Session:
    """`ordered`: by time, corrections applied, cancelled trades left out. `arrived`: the same as a bad day brings it."""

    ordered: list[Event]
    arrived: list[Event]
    late: int
    fixed: int


def session(n: int, seed: int, *, symbols: int = 3, seconds: int = 900) -> list[Trade]:
    """Trades in order of time; sizes that no sum of floats adds up exactly."""
    rng = np.random.default_rng(seed)
    at = START + np.sort(rng.integers(0, seconds * NS, n))
    seq = dict.fromkeys(range(symbols), 0)
    trades = []
    for ts in at.tolist():
        s = int(rng.integers(symbols))
        seq[s] += 1
        trades.append(
            Trade(
                symbol=f"S{s}",
                venue="SIM",
                seq=seq[s],
                ts_event=ts,
                ts_ingest=ts,
                price=round(50 + rng.normal(), 2),
                size=round(float(rng.exponential(3)) + 0.1, 3),
                in_bars=bool(rng.random() > 0.02),
            )
        )
    return trades


def disturb(
    trades: Sequence[Trade], seed: int, *, late: float = 0.01, fixes: float = 0.001, twice: float = 0.01,
    longest_s: float = 400.0,
) -> Session:  # fmt: skip
    """`late`, `fixes`, `twice`: shares of the trades; delays of up to `longest_s`, most of them short."""
    rng = np.random.default_rng(seed)
    trades = [msgspec.structs.replace(trade, ts_ingest=trade.ts_event) for trade in trades]
    n, end = len(trades), trades[-1].ts_event + round((longest_s + 60) * NS)
    chosen = np.flatnonzero(rng.random(n) < late)
    arrival = np.array([trade.ts_event for trade in trades], np.int64)
    arrival[chosen] += (np.exp(rng.uniform(np.log(0.2), np.log(longest_s), len(chosen))) * NS).astype(np.int64)
    arrived: list[tuple[int, int, Event]] = []
    for i, at in enumerate(arrival.tolist()):
        arrived.append((at, 1, msgspec.structs.replace(trades[i], ts_ingest=at)))
        if rng.random() < twice:
            again = at + int(rng.exponential(30) * NS)
            arrived.append((min(again, end), 1, msgspec.structs.replace(trades[i], ts_ingest=again)))
    number = 0
    wrong = np.flatnonzero(rng.random(n) < fixes)
    for i in wrong.tolist():
        for _ in range(1 + int(rng.random() < 0.3)):
            number += 1
            said = min(trades[i].ts_event + int(rng.exponential(60) * NS) + number, end - NS)
            fix = _fix(rng, trades[i], said, number)
            arrived.append((said, 2, fix))
            if rng.random() < 0.3:
                arrived.append((said + NS // 3, 2, fix))
    by_arrival = sorted(arrived, key=lambda each: each[:2])
    final = _final(trades, [event for _, _, event in by_arrival])
    meant = [(trade.ts_event, 1, trade) for trade in final.values() if trade is not None]
    beats = _beats(trades[0].venue, trades[0].ts_event, end)
    everything: list[tuple[int, int, Event]] = [*by_arrival, *beats]
    ordered: list[tuple[int, int, Event]] = [*meant, *beats]
    return Session(
        ordered=[event for _, _, event in sorted(ordered, key=lambda each: each[:2])],
        arrived=[event for _, _, event in sorted(everything, key=lambda each: each[:2])],
        late=len(chosen), fixed=len(wrong),
    )  # fmt: skip


def _fix(rng: np.random.Generator, trade: Trade, at: int, number: int) -> Correction | Cancel:
    if rng.random() < 0.4:
        return Cancel(
            symbol=trade.symbol, venue=trade.venue, seq=number, ts_event=at, ts_ingest=at, refers_seq=trade.seq
        )  # fmt: skip
    return Correction(
        symbol=trade.symbol, venue=trade.venue, seq=number, ts_event=at, ts_ingest=at, refers_seq=trade.seq,
        price=round(trade.price * 1.01, 2), size=round(trade.size * 0.7 + 0.01, 3),
    )  # fmt: skip


def _final(trades: Sequence[Trade], arrived: Sequence[Event]) -> dict[int, Trade | None]:
    """Every trade as the last word on it says; what is said once more is no word."""
    said: set[tuple[type[Event], int]] = set()
    at = {(trade.symbol, trade.seq): i for i, trade in enumerate(trades)}
    final: dict[int, Trade | None] = dict(enumerate(trades))
    for event in arrived:
        if isinstance(event, Cancel | Correction):
            if (type(event), event.seq) in said:
                continue
            said.add((type(event), event.seq))
        if isinstance(event, Cancel):
            final[at[event.symbol, event.refers_seq]] = None
        elif isinstance(event, Correction):
            i = at[event.symbol, event.refers_seq]
            final[i] = msgspec.structs.replace(trades[i], price=event.price, size=event.size)
    return final


def _beats(venue: str, first: int, end: int) -> list[tuple[int, int, Event]]:
    seconds = range(first // NS, end // NS + 2)
    return [(s * NS, 0, Heartbeat(venue=venue, seq=s, ts_event=s * NS, ts_ingest=s * NS)) for s in seconds]

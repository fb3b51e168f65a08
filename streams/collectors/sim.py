"""A simulated exchange: trades, quotes and news of made-up companies, always marked `SIM`, the same for the same seed.

Time is made in whole seconds, each from its own random numbers, so the size of the steps in which it is asked for makes no
difference to any byte.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from schemas.events import Cancel, Correction, Event, Heartbeat, NewsItem, Quote, SessionMark, Trade
from streams.collectors.sim_incidents import SLOT_S, Fixes, Slot, on_the_wire
from streams.collectors.sim_market import (
    CANCEL,
    CORRECT,
    HEARTBEAT,
    MARK,
    NS,
    PRINT,
    QUOTE,
    ROW,
    TRADE,
    Market,
    Rows,
    joined,
)
from streams.collectors.sim_news import headline, symbol_name

VENUE: Final = "SIM"
WIRE_NS: Final = 1_000_000
"""From the exchange to us, in history."""
SECONDS_PER_ITEM: Final = 15.0
SIDES: Final = ("sell", "unknown", "buy")


class SimExchange:
    """Everything that a simulated exchange says, in the order in which it says it.

    seed               the same seed and start give the same bytes
    symbols            how many; SIMA, SIMB, ...
    start_ns           nothing happens before; sequence numbers begin at it in microseconds, so a later run never reuses them
    events_per_second  trades and quotes of all symbols, in the long run; up to 20,000. May be set: from the next second on.

    Raises: `ValueError` for numbers that make no exchange.
    """

    def __init__(self, seed: int, symbols: int = 24, start_ns: int = 0, *, events_per_second: float = 200.0) -> None:
        if symbols < 1 or seed < 0 or start_ns < 0 or events_per_second <= 0:
            raise ValueError(
                f"expected seed >= 0, symbols >= 1, start_ns >= 0, events_per_second > 0; found "
                f"{seed}, {symbols}, {start_ns}, {events_per_second}"
            )
        self.symbols: Final[Sequence[str]] = tuple(symbol_name(row) for row in range(symbols))
        self.events_per_second = events_per_second
        self.start_ns: Final = start_ns
        self._seed = seed
        self._market = Market.start(seed, symbols, start_ns // 1_000)
        self._fixes = Fixes()
        self._second = 0
        self._slot = Slot.draw(seed, 0, start_ns, symbols)
        self._ready = np.zeros(0, ROW)
        """Rows of the seconds made so far that nobody has asked for yet, in order of leaving."""
        self._delayed = np.zeros(0, ROW)
        self._news: deque[NewsItem] = deque()

    def events_until(self, ts_ns: int, ts_ingest: int | None = None) -> list[Event]:
        """What has left the exchange by `ts_ns` and was not returned before.

        `ts_ingest`: the stamp of all of them; without it each arrives `WIRE_NS` after it left, as in history.
        """
        self._make(ts_ns)
        count = int(np.searchsorted(self._ready["emit"], ts_ns, side="right"))
        leaving, self._ready = self._ready[:count], self._ready[count:]
        return [self._event(row, ts_ingest) for row in leaving.tolist()]

    def news_until(self, ts_ns: int, ts_ingest: int | None = None) -> list[NewsItem]:
        """News published by `ts_ns` and not returned before; for the news topic, not the events topic."""
        self._make(ts_ns)
        items = []
        while self._news and self._news[0].ts_event <= ts_ns:
            item = self._news.popleft()
            items.append(replace(item, ts_ingest=item.ts_event + WIRE_NS if ts_ingest is None else ts_ingest))
        return items

    def _make(self, ts_ns: int) -> None:
        made = [self._ready]
        while self.start_ns + self._second * NS <= ts_ns:
            made.append(self._make_second())
        if len(made) > 1:
            self._ready = joined(made)

    def _make_second(self) -> Rows:
        start = self.start_ns + self._second * NS
        end = start + NS
        rng = np.random.default_rng([self._seed, 2, self._second])
        if self._second % SLOT_S == 0:
            self._slot = Slot.draw(self._seed, self._second // SLOT_S, start, len(self.symbols))
        self._publish(rng, start)
        rows = self._fixes.join(self._slot.trading(self._market.second(rng, start, self.events_per_second)), end)
        self._market.number(rows)
        self._fixes.plan(rng, rows)
        twice = on_the_wire(rng, rows)
        self._second += 1
        return self._leaving(joined([self._marks(start), self._delayed, rows, twice]), end)

    def _leaving(self, rows: Rows, end_ns: int) -> Rows:
        """Rows that are heard before `end_ns`, in order; the others wait for their second."""
        emit = rows["emit"].copy()
        self._delayed = rows[emit >= end_ns]
        leave = np.flatnonzero((emit < end_ns) & (self._slot.heard(emit) | (rows["kind"] >= HEARTBEAT)))
        return rows[leave[np.argsort(emit[leave], kind="stable")]]

    def _publish(self, rng: np.random.Generator, start_ns: int) -> None:
        times = np.sort(rng.integers(0, NS, rng.poisson(1.0 / SECONDS_PER_ITEM)))
        for ordinal, offset in enumerate(times.tolist()):
            item_id = f"SIM-{self._seed}-{start_ns // NS}-{ordinal}"
            item, rows, tone = headline(rng, item_id, start_ns + offset, len(self.symbols))
            self._news.append(item)
            for row in rows:
                self._market.hear(row, tone)

    def _marks(self, start_ns: int) -> Rows:
        """Heartbeats and session marks of this second."""
        slot, end = self._slot, start_ns + NS
        marks = [] if slot.paused(start_ns) else [(start_ns, HEARTBEAT, 0, 1)]
        said = (
            (slot.paused_ns, HEARTBEAT, 0, -1), (slot.resumed_ns, HEARTBEAT, 0, 1),
            (slot.halted_ns, MARK, slot.halted, -1), (slot.traded_ns, MARK, slot.halted, 1),
        )  # fmt: skip
        marks += [mark for mark in said if start_ns <= mark[0] < end]
        rows = np.zeros(len(marks), ROW)
        for row, (ts, kind, symbol, side) in zip(rows, marks, strict=True):
            row["emit"], row["ts"], row["seq"] = ts, ts, ts // 1_000
            row["kind"], row["symbol"], row["side"] = kind, symbol, side
        return rows

    def _event(self, row: tuple[Any, ...], stamp: int | None) -> Event:
        emit, ts, kind, symbol, seq, a, b, c, d, side, _ = row
        ingest = emit + WIRE_NS if stamp is None else stamp
        name = self.symbols[symbol]
        if kind == QUOTE:
            return Quote(
                symbol=name, venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, bid=a, bid_size=b, ask=c, ask_size=d
            )
        if kind == TRADE:
            return Trade(
                symbol=name, venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, price=a, size=b, side=SIDES[side + 1]
            )
        if kind == PRINT:
            return Trade(
                symbol=name, venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, price=a, size=b,
                conditions="average price", in_bars=False,
            )  # fmt: skip
        return self._rare(row, ingest)

    def _rare(self, row: tuple[Any, ...], ingest: int) -> Event:
        _, ts, kind, symbol, seq, a, b, _, _, side, refers = row
        name = self.symbols[symbol]
        if kind == CORRECT:
            return Correction(
                symbol=name, venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, refers_seq=refers, price=a, size=b
            )
        if kind == CANCEL:
            return Cancel(symbol=name, venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, refers_seq=refers)
        if kind == HEARTBEAT:
            return Heartbeat(venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, state="up" if side > 0 else "down")
        return SessionMark(
            venue=VENUE, seq=seq, ts_event=ts, ts_ingest=ingest, state="resume" if side > 0 else "halt", symbol=name
        )

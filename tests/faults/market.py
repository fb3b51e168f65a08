"""A seeded market with everything that goes wrong on a real one; any block of it can be said again, word for word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from schemas.events import Cancel, Control, Correction, Event, Heartbeat, NewsItem, NewsSignal, Quote, Trade

NS: Final = 1_000_000_000
SYMBOLS: Final = tuple(f"S{number:02}" for number in range(24))
VENUES: Final = ("ALPHA", "BETA")
WIRE: Final = "WIRE"
BLOCK: Final = 200
"""Market events that are written and acknowledged together."""
KINDS: Final = ("trade", "quote", "news", "correct", "cancel", "garbage", "crossed", "future", "late", "disordered")
SHARES: Final = (0.52, 0.425, 0.008, 0.004, 0.003, 0.006, 0.006, 0.004, 0.012, 0.012)
AGAIN: Final = 0.02
"""Share of events that are sent twice."""
ITEM_EVERY: Final = 4
"""Blocks between two raw news items."""
CONTROL_EVERY: Final = 64


@dataclass(frozen=True, slots=True)
class Garbage:
    """A record that is no event."""

    partition: int
    raw: bytes


Said: TypeAlias = Event | Garbage


@dataclass(frozen=True, slots=True)
class Market:
    """What is said in block 0, 1, 2 …; event `i` is stamped `began_ns + i / rate`, and `i` is its sequence number."""

    seed: int
    began_ns: int
    rate: float
    partitions: int

    def due_ns(self, block: int) -> int:
        """When the first event of a block happens."""
        return self._at(block * BLOCK)

    def _at(self, index: int) -> int:
        return self.began_ns + round(index / self.rate * NS)

    def block(self, block: int) -> list[Said]:
        """In the order in which it is written; `ts_ingest` is for the sender to stamp."""
        rng = np.random.default_rng((self.seed, block))
        first = block * BLOCK
        kinds = rng.choice(len(KINDS), BLOCK, p=SHARES)
        said: list[Said] = []
        for index, kind in enumerate(kinds.tolist(), first):
            said.append(self._one(KINDS[kind], index, rng))
        for at in sorted(np.flatnonzero(rng.random(BLOCK) < AGAIN).tolist(), reverse=True):
            said.insert(min(at + int(rng.integers(1, 20)), len(said)), said[at])
        return said + self._marks(block)

    def _one(self, kind: str, index: int, rng: np.random.Generator) -> Said:
        ts = self._at(index)
        row = int(rng.integers(len(SYMBOLS)))
        price = round((100 + row) * (1 + 0.01 * float(np.sin(index / 5_000 + row))) + float(rng.normal(0, 0.02)), 4)
        size = float(rng.integers(1, 500))
        about: dict[str, Any] = {
            "symbol": SYMBOLS[row],
            "venue": VENUES[row % 2],
            "seq": index,
            "ts_event": ts,
            "ts_ingest": 0,
        }
        if kind == "late":
            about["ts_event"] = ts - int(rng.integers(5, 60)) * NS
        if kind == "disordered":
            about["ts_event"] = ts - int(rng.integers(100, 800)) * 1_000_000
        if kind == "future":
            about["ts_event"] = ts + 3_600 * NS
        if kind == "quote":
            return Quote(**about, bid=price - 0.01, bid_size=size, ask=price + 0.01, ask_size=size + 1)
        if kind == "crossed":
            return Quote(**about, bid=price + 1, bid_size=size, ask=price - 1, ask_size=size)
        if kind == "news":
            about["venue"] = WIRE
            return NewsSignal(**about, sentiment=float(rng.uniform(-1, 1)), item_id=f"direct-{index}", words=9)
        if kind == "garbage":
            return Garbage(index % self.partitions, _garbage(index))
        if kind == "correct":
            return Correction(**about, refers_seq=max(index - 24, 0), price=price, size=size)
        if kind == "cancel":
            return Cancel(**about, refers_seq=max(index - 48, 0))
        return Trade(**about, price=price, size=size, side=("buy", "sell", "unknown")[index % 3])

    def _marks(self, block: int) -> list[Said]:
        """Heartbeats of every second that ended within the block, and now and then a control event."""
        ends = self.due_ns(block + 1)
        before = (self.due_ns(block) - self.began_ns) // NS
        marks: list[Said] = []
        for second in range(before, (ends - self.began_ns) // NS):
            at = self.began_ns + (second + 1) * NS
            marks += [Heartbeat(venue=venue, seq=second, ts_event=at, ts_ingest=0) for venue in VENUES]
        if block % CONTROL_EVERY == CONTROL_EVERY - 1:
            marks.append(Control(topic="rules", id=f"rule-{block}", ts_event=ends, ts_ingest=0, body="{}"))
        return marks

    def items(self, block: int) -> list[NewsItem]:
        """Raw news for the agent."""
        if block % ITEM_EVERY:
            return []
        at = self.due_ns(block)
        names = (SYMBOLS[block % len(SYMBOLS)], SYMBOLS[(block + 7) % len(SYMBOLS)])
        title = f"Profit of {names[0]} rises, {names[1]} warns of loss, item {block}"
        return [NewsItem(item_id=f"item-{block}", source=WIRE, ts_event=at, ts_ingest=0, title=title, symbols=names)]

    def closing(self, block: int) -> list[Trade]:
        """One last trade of every symbol, so that every partition ends with a record that is folded."""
        first, at = block * BLOCK, self.due_ns(block)
        return [
            Trade(
                symbol=symbol, venue=VENUES[row % 2], seq=first + row, ts_event=at + row, ts_ingest=0, price=100.0 + row,
                size=1.0,
            )
            for row, symbol in enumerate(SYMBOLS)
        ]  # fmt: skip


def _garbage(index: int) -> bytes:
    """No JSON, no event of ours, or an event with an impossible value."""
    broken = (
        b'{"type":"trade","broken":%d',
        b'{"type":"nothing of ours","seq":%d}',
        b'{"type":"trade","symbol":"S00","venue":"ALPHA","seq":%d,"ts_event":1,"ts_ingest":1,"price":-1.0,"size":1.0}',
    )
    return broken[index % len(broken)] % index


def identity(said: Said) -> tuple[object, ...]:
    """What makes it the same one, wherever and however often it stands on the log."""
    if isinstance(said, Garbage):
        return ("garbage", said.raw)
    name = said.id if isinstance(said, Control) else said.seq
    return (type(said).__struct_config__.tag, said.venue, said.symbol, name)


def identities(events: Sequence[Said]) -> set[tuple[object, ...]]:
    """Of all of them."""
    return {identity(said) for said in events}

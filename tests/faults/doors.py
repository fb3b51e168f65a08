"""By which door every record of the log must leave, worked out anew from the rules as they are written, record by record.

Slow and plain on purpose: it shares no line with the fold that it judges.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.faults.log_records import Records

NS: Final = 1_000_000_000
FOLDED, LATE, DUPLICATE, CONTROL, REJECTED, CORRECTION, REPEATED = range(7)
TABLE: Final = {"trade": "trades", "quote": "quotes", "news": "news", "correct": "corrections", "cancel": "corrections"}
MARKET: Final = ("trade", "quote", "news")
CONTROLS: Final = ("heartbeat", "session", "control")
LATENESS_NS: Final = NS
FUTURE_NS: Final = 5 * NS
VALUES: Final = {
    "trade": ("price", "size"), "quote": ("bid", "ask"), "news": ("sentiment", "words"), "correct": ("price", "size"),
    "cancel": ("refers_seq", "refers_seq"),
}  # fmt: skip


@dataclass(slots=True)
class Judged:
    """One partition; arrays of one entry a record, the first of them at offset `first`."""

    first: int
    door: NDArray[np.int8]
    kind: list[str]
    """Type of the event; empty for what is none."""
    symbol: list[str]
    numbers: NDArray[np.int64]
    """[n, 3]: seq, ts_event, ts_ingest."""
    values: NDArray[np.float64]
    """[n, 2]: by VALUES."""
    identities: set[tuple[object, ...]]

    def __len__(self) -> int:
        return len(self.door)


def judged(records: Records) -> Judged:
    """The doors of one partition, in the order of its log."""
    n = len(records.values)
    told = Judged(
        records.offsets[0] if n else records.first, np.empty(n, np.int8), [], [], np.zeros((n, 3), np.int64),
        np.full((n, 2), np.nan), set(),
    )  # fmt: skip
    rules = _Rules()
    for i, raw in enumerate(records.values):
        event = _event(raw)
        if event is None:
            told.door[i] = REJECTED
            told.kind.append("")
            told.symbol.append("")
            told.identities.add(("garbage", raw))
            continue
        kind, symbol = event["type"], event.get("symbol", "")
        told.kind.append(kind)
        told.symbol.append(symbol)
        told.identities.add((kind, event.get("venue", ""), symbol, event["id"] if kind == "control" else event["seq"]))
        told.numbers[i] = event.get("seq", 0), event["ts_event"], event["ts_ingest"]
        if kind in VALUES:
            told.values[i] = [event.get(name, 0) for name in VALUES[kind]]
        told.door[i] = rules.door(event)
    return told


def _event(raw: bytes) -> dict[str, Any] | None:
    """The JSON of an event; None for what is no event of ours."""
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    if not isinstance(found, dict) or found.get("type") not in {*MARKET, "correct", "cancel", *CONTROLS}:
        return None
    return found if found.get("price", 1.0) > 0 else None


class _Rules:
    """The clock of every symbol, and the identities that were seen."""

    def __init__(self) -> None:
        self._clock: dict[str, int] = {}
        self._venue: dict[str, str] = {}
        self._seen: set[tuple[object, ...]] = set()

    def door(self, event: dict[str, Any]) -> int:
        kind, at = event["type"], event["ts_event"]
        if event.get("bid", 0) > event.get("ask", 0) or at > event["ts_ingest"] + FUTURE_NS:
            return REJECTED
        if kind in CONTROLS:
            if kind == "heartbeat":
                for symbol, venue in self._venue.items():
                    if venue == event["venue"]:
                        self._clock[symbol] = max(self._clock[symbol], at)
            return CONTROL
        known = self._known(kind, event["symbol"], event["seq"])
        if kind not in MARKET:
            return REPEATED if known else CORRECTION
        return DUPLICATE if known else self._timed(kind, event["symbol"], event["venue"], at)

    def _known(self, kind: str, symbol: str, seq: int) -> bool:
        identity = (kind, symbol, seq)
        known = identity in self._seen
        self._seen.add(identity)
        return known

    def _timed(self, kind: str, symbol: str, venue: str, at: int) -> int:
        clock = self._clock.get(symbol)
        if kind == "news":
            self._clock.setdefault(symbol, at)
            return FOLDED
        self._venue.setdefault(symbol, venue)
        if clock is not None and at < clock - LATENESS_NS:
            return LATE
        self._clock[symbol] = at if clock is None else max(clock, at)
        return FOLDED

"""Labels: predictions are parked until their horizon has passed on the log, then it is known what came true.

At most one prediction per symbol and `every_ns` is parked. Its label is the reference price as of its horizon: the newest
one at or before that moment. It matures with the first event or heartbeat that is later. No label crosses the end of a
session: what would is not parked.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NS, Column, EventBatch, Integers, Matrix
from processors.columns import HEARTBEAT, EventColumns
from processors.timeline import FOLDED, Placed, Timeline
from schemas.errors import IndicatorError

SCORES: Final = 2
"""Models whose scores are parked with a prediction: online, onnx."""
TIME, OFFSET, ROW = range(3)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """What is asked: is the price higher `horizon_ns` later? Sampled once per `every_ns` and symbol."""

    horizon_ns: int = 10 * NS
    every_ns: int = NS

    def __post_init__(self) -> None:
        if self.horizon_ns < 1 or self.every_ns < 1:
            raise IndicatorError(
                f"horizon and sampling must be positive, were {self.horizon_ns} and {self.every_ns} ns"
            )

    @property
    def room(self) -> int:
        """Most predictions of one symbol that wait at a time."""
        return self.horizon_ns // self.every_ns + 2


@dataclass(frozen=True, slots=True)
class Matured:
    """m labels in the order in which they matured.

    event    event of the stretch that let it mature         before   folded rows before that event
    row      symbol row                                      stamps   int64 [m, 2]: time and offset of the prediction
    batch_row  its row in this stretch, -1 if parked earlier  price    [m, 2]: at the prediction, at its horizon
    scores   [m, SCORES], to be filled where batch_row >= 0  features [m, features]
    label    1 up, 0 down, 0.5 unchanged
    """

    event: Integers
    before: Integers
    row: Integers
    stamps: NDArray[np.int64]
    batch_row: Integers
    price: Matrix
    scores: Matrix
    features: Matrix
    label: Column

    def __len__(self) -> int:
        return len(self.event)


@dataclass(slots=True)
class Labels:
    """Parked predictions: a ring of `rule.room` per symbol."""

    rule: LabelRule
    symbols: int
    features: int
    ring: NDArray[np.int64] = field(init=False)
    """[symbols, room, 3]: time, offset, row in the stretch at hand."""
    price: Matrix = field(init=False)
    parked_features: NDArray[np.float64] = field(init=False)
    parked_scores: NDArray[np.float64] = field(init=False)
    cursor: NDArray[np.int64] = field(init=False)
    """[symbols, 3]: oldest slot, how many wait, sampling interval of the newest."""
    last: Column = field(init=False)
    """[symbols]: newest reference price."""

    def __post_init__(self) -> None:
        shape = (self.symbols, self.rule.room)
        self.ring = np.full((*shape, 3), -1, np.int64)
        self.price = np.full(shape, np.nan)
        self.parked_features = np.full((*shape, self.features), np.nan)
        self.parked_scores = np.full((*shape, SCORES), np.nan)
        self.cursor = np.tile(np.array([0, 0, -1], np.int64), (self.symbols, 1))
        self.last = np.full(self.symbols, np.nan)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (
            self.ring, self.price, self.parked_features, self.parked_scores, self.cursor, self.last,
        )  # fmt: skip

    def fold(
        self, events: EventColumns, placed: Placed, batch: EventBatch, offsets: Integers, matrix: Matrix,
        timeline: Timeline, symbols: int,
    ) -> Matured:  # fmt: skip
        """Let mature what is due and park what is sampled, in log order.

        batch, offsets, matrix: the folded rows, float64 [rows, features]. Call `note_scores` once they have scores.
        """
        room = int(self.cursor[:symbols, 1].sum()) + len(batch)
        out = Matured(
            np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 2), np.int64),
            np.empty(room, np.int64), np.empty((room, 2)), np.empty((room, SCORES)), np.empty((room, self.features)),
            np.empty(room),
        )  # fmt: skip
        m = _fold(
            events.kind, events.venue, events.ts_event, placed.door, timeline.venue, symbols, batch.symbol, batch.now,
            batch.mid, placed.until, offsets, matrix, self.rule.horizon_ns, self.rule.every_ns, self.ring, self.price,
            self.parked_features, self.parked_scores, self.cursor, self.last, out.event, out.before,
            out.row, out.stamps, out.batch_row, out.price, out.scores, out.features, out.label,
        )  # fmt: skip
        return Matured(*(getattr(out, name)[:m] for name in Matured.__slots__))

    def note_scores(self, symbols: int, scores: Matrix) -> None:
        """Give the predictions parked in this stretch their scores; `scores`: [rows, SCORES]."""
        parked = self.ring[:symbols, :, ROW]
        row, slot = np.nonzero(parked >= 0)
        self.parked_scores[row, slot] = scores[parked[row, slot]]
        parked[row, slot] = -1


@njit(cache=True)
def _fold(  # type: ignore[no-untyped-def]
    kind, venue, ts, door, venue_of, symbols, symbol, now, mid, until, offset, matrix, horizon, every, ring, price,
    features, scores, cursor, last, o_event, o_before, o_row, o_stamps, o_batch_row, o_price, o_scores,
    o_features, o_label,
):  # fmt: skip
    m, r = 0, 0
    for i in range(len(kind)):
        if kind[i] == HEARTBEAT:
            for s in range(symbols):
                if venue_of[s] == venue[i] and _due(s, ts[i], horizon, ring, cursor):
                    m = _mature(
                        i, r, s, ts[i], horizon, ring, price, features, scores, cursor, last, m, o_event, o_before,
                        o_row, o_stamps, o_batch_row, o_price, o_scores, o_features, o_label,
                    )  # fmt: skip
        elif door[i] == FOLDED:
            s = symbol[r]
            if _due(s, now[r], horizon, ring, cursor):
                m = _mature(
                    i, r, s, now[r], horizon, ring, price, features, scores, cursor, last, m, o_event, o_before,
                    o_row, o_stamps, o_batch_row, o_price, o_scores, o_features, o_label,
                )  # fmt: skip
            last[s] = mid[r]
            if np.isfinite(mid[r]) and now[r] // every > cursor[s, 2] and now[r] + horizon < until[i]:
                cursor[s, 2] = now[r] // every
                slot = (cursor[s, 0] + cursor[s, 1]) % ring.shape[1]
                cursor[s, 1] += 1
                ring[s, slot, 0], ring[s, slot, 1], ring[s, slot, 2] = now[r], offset[r], r
                price[s, slot] = mid[r]
                features[s, slot, :] = matrix[r]
            r += 1
    return m


@njit(cache=True)
def _due(s, now, horizon, ring, cursor):  # type: ignore[no-untyped-def]
    """Whether the oldest parked prediction of symbol `s` has passed its horizon."""
    return cursor[s, 1] > 0 and ring[s, cursor[s, 0], 0] + horizon < now


@njit(cache=True)
def _mature(  # type: ignore[no-untyped-def]
    i, r, s, now, horizon, ring, price, features, scores, cursor, last, m, o_event, o_before, o_row, o_stamps,
    o_batch_row, o_price, o_scores, o_features, o_label,
):  # fmt: skip
    """Everything of symbol `s` whose horizon lies before `now` came true at the newest price so far."""
    while _due(s, now, horizon, ring, cursor):
        slot = cursor[s, 0]
        o_event[m], o_before[m], o_row[m] = i, r, s
        o_stamps[m, 0], o_stamps[m, 1] = ring[s, slot, 0], ring[s, slot, 1]
        o_batch_row[m] = ring[s, slot, 2]
        o_price[m, 0], o_price[m, 1] = price[s, slot], last[s]
        o_scores[m, :] = scores[s, slot]
        o_features[m, :] = features[s, slot]
        o_label[m] = 0.5 if last[s] == price[s, slot] else (1.0 if last[s] > price[s, slot] else 0.0)
        ring[s, slot, 2] = -1
        cursor[s, 0] = (slot + 1) % ring.shape[1]
        cursor[s, 1] -= 1
        m += 1
    return m

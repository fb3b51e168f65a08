"""Labels: predictions are parked until a horizon has passed on the log, then it is known what came true.

Of every symbol a prediction is parked at most once per sampling interval and horizon. Its label is the reference price as of
its horizon: the newest one at or before that moment. It matures with the first event or heartbeat that is later. A horizon
that reaches over a halt, a gap or the end of the session is void: it has an outcome without a label, never a label of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NS, Codes, Column, EventBatch, Integers, Matrix
from processors.columns import HEARTBEAT, SESSION, EventColumns
from processors.interruptions import SESSION_END, Interruptions
from processors.scores import SCORES, Scores
from processors.timeline import FOLDED, Placed, Timeline
from schemas.errors import IndicatorError

TIME, OFFSET, ROW, LINE_UP = range(4)
PER_HORIZON: Final = 10
"""A horizon is sampled this often while it passes: more would only repeat what overlapping labels say, and cost state."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """What is asked: where is the price `horizon_ns` later? Sampled once per `every_ns`, or tenth of the horizon, and symbol.

    `horizon_ns` is the one that the online model learns from; `others_ns` are asked beside it. Up or down is a log return
    beyond `dead_band`, the costs of a trade as a fraction of the price.
    """

    horizon_ns: int = 10 * NS
    every_ns: int = NS
    others_ns: tuple[int, ...] = ()
    dead_band: float = 0.0

    def __post_init__(self) -> None:
        horizons = (self.horizon_ns, *self.others_ns)
        if min(horizons) < 1 or self.every_ns < 1:
            raise IndicatorError(f"horizons and sampling must be positive, were {horizons} and {self.every_ns} ns")
        if len(set(horizons)) < len(horizons):
            raise IndicatorError(f"horizons must differ, were {horizons} ns")
        if not 0 <= self.dead_band < 1:
            raise IndicatorError(f"the dead band is a fraction of the price, from 0 to below 1, was {self.dead_band}")

    @property
    def horizons(self) -> "tuple[LabelRule, ...]":
        """A rule for each horizon, the learnt one first."""
        slower = (
            replace(self, horizon_ns=h, every_ns=max(self.every_ns, h // PER_HORIZON), others_ns=())
            for h in self.others_ns
        )
        return (replace(self, others_ns=()), *slower)

    @property
    def room(self) -> int:
        """Most predictions of one symbol that wait at a time."""
        return self.horizon_ns // self.every_ns + 2


@dataclass(frozen=True, slots=True)
class Matured:
    """m outcomes in the order in which they came to be known.

    event    event of the stretch that made it known          before   folded rows before that event
    row      symbol row                                      stamps   int64 [m, 2]: time and offset of the prediction
    batch_row  its row in this stretch, -1 if parked earlier  price    [m, 2]: at the prediction, at its horizon
    scores   [m, SCORES], to be filled where batch_row >= 0  line_up  who gave them; the same
    features [m, features], none where they are not kept
    label    1 up, 0 down, 0.5 within the dead band, NaN void
    void     int8, `interruptions.REASONS`                   horizon  int64, ns
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
    void: Codes
    horizon: Integers
    line_up: Integers

    def __len__(self) -> int:
        return len(self.event)


def merged(parts: Sequence[Matured]) -> Matured:
    """The outcomes of all horizons in log order, without features."""
    order = np.argsort(np.concatenate([part.event for part in parts]), kind="stable")
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])[order]
        for name in Matured.__slots__
        if name != "features"
    }
    return Matured(features=np.empty((len(order), 0)), **columns)


@dataclass(slots=True)
class Labels:
    """Parked predictions of one horizon: a ring of `rule.room` per symbol."""

    rule: LabelRule
    symbols: int
    features: int
    """0 where the features of a prediction are not kept."""
    ring: NDArray[np.int64] = field(init=False)
    """[symbols, room, 4]: time, offset, row in the stretch at hand, line-up."""
    price: Matrix = field(init=False)
    parked_features: NDArray[np.float64] = field(init=False)
    parked_scores: NDArray[np.float64] = field(init=False)
    cursor: NDArray[np.int64] = field(init=False)
    """[symbols, 3]: oldest slot, how many wait, sampling interval of the newest."""
    last: Column = field(init=False)
    """[symbols]: newest reference price."""

    def __post_init__(self) -> None:
        shape = (self.symbols, self.rule.room)
        self.ring = np.full((*shape, 4), -1, np.int64)
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
        timeline: Timeline, symbols: int, interrupted: Interruptions,
    ) -> Matured:  # fmt: skip
        """Let mature what is due, void what was interrupted, and park what is sampled, in log order.

        batch, offsets, matrix: the folded rows, float64 [rows, features]. Call `note_scores` once they have scores.
        """
        room = int(self.cursor[:symbols, 1].sum()) + len(batch)
        out = Matured(
            np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 2), np.int64),
            np.empty(room, np.int64), np.empty((room, 2)), np.empty((room, SCORES)), np.empty((room, self.features)),
            np.empty(room), np.zeros(room, np.int8), np.full(room, self.rule.horizon_ns, np.int64),
            np.empty(room, np.int64),
        )  # fmt: skip
        rule = np.array([self.rule.horizon_ns, self.rule.every_ns], np.int64)
        m = _fold(
            (events.kind, events.row, events.venue, events.ts_event, placed.door, interrupted.breaks),
            (batch.symbol, batch.now, batch.mid, placed.until, offsets, matrix, interrupted.asked), timeline.venue,
            symbols, rule, self.rule.dead_band, self.arrays,
            (out.event, out.before, out.row, out.stamps, out.batch_row, out.price, out.scores, out.features, out.label,
             out.void, out.line_up),
        )  # fmt: skip
        return Matured(*(getattr(out, name)[:m] for name in Matured.__slots__))

    def note_scores(self, symbols: int, scores: Scores) -> None:
        """Give the predictions parked in this stretch their scores."""
        parked = self.ring[:symbols, :, ROW]
        row, slot = np.nonzero(parked >= 0)
        self.parked_scores[row, slot] = scores.by_model[parked[row, slot]]
        self.ring[row, slot, LINE_UP] = scores.line_up[parked[row, slot]]
        parked[row, slot] = -1


@njit(cache=True)
def _fold(events, rows, venue_of, symbols, rule, band, state, out):  # type: ignore[no-untyped-def]
    kind, row, venue, ts, door, breaks = events
    symbol, now, mid, until, offset, matrix, asked = rows
    ring, cursor, last = state[0], state[4], state[5]
    m, r = 0, 0
    for i in range(len(kind)):
        if kind[i] == HEARTBEAT or (kind[i] == SESSION and breaks[i] != 0):
            for s in range(symbols):
                concerned = row[i] == s or (row[i] < 0 and venue_of[s] == venue[i])
                if concerned and _ends(ring, cursor, s, ts[i], breaks[i], rule[0]):
                    m = _pass(i, r, s, ts[i], breaks[i], rule[0], band, state, out, m)
        elif door[i] == FOLDED:
            s = symbol[r]
            if _ends(ring, cursor, s, now[r], breaks[i], rule[0]):
                m = _pass(i, r, s, now[r], breaks[i], rule[0], band, state, out, m)
            last[s] = mid[r]
            if np.isfinite(mid[r]) and asked[r] and now[r] // rule[1] > cursor[s, 2]:
                cursor[s, 2] = now[r] // rule[1]
                _park(s, r, now[r], offset[r], mid[r], matrix, state)
                if now[r] + rule[0] >= until[i]:
                    m = _void_newest(i, r, s, state, out, m)
            r += 1
    return m


@njit(cache=True)
def _ends(ring, cursor, s, now, interrupted, horizon):  # type: ignore[no-untyped-def]
    """Whether the oldest prediction of symbol `s` that waits is due, or something ends all that wait."""
    return cursor[s, 1] > 0 and (interrupted != 0 or ring[s, cursor[s, 0], 0] + horizon < now)


@njit(cache=True)
def _park(s, r, now, offset, mid, matrix, state):  # type: ignore[no-untyped-def]
    ring, price, features, _, cursor, _ = state
    slot = (cursor[s, 0] + cursor[s, 1]) % ring.shape[1]
    cursor[s, 1] += 1
    ring[s, slot, 0], ring[s, slot, 1], ring[s, slot, 2] = now, offset, r
    price[s, slot] = mid
    if features.shape[2] > 0:
        features[s, slot, :] = matrix[r]


@njit(cache=True)
def _void_newest(i, r, s, state, out, m):  # type: ignore[no-untyped-def]
    """The prediction that was just parked reaches over the end of its session."""
    ring, cursor = state[0], state[4]
    cursor[s, 1] -= 1
    slot = (cursor[s, 0] + cursor[s, 1]) % ring.shape[1]
    return _tell(i, r, s, slot, SESSION_END, np.nan, 0.0, state, out, m)


@njit(cache=True)
def _pass(i, r, s, now, interrupted, horizon, band, state, out, m):  # type: ignore[no-untyped-def]
    """Of symbol `s`: what is due before `now` came true at the newest price so far; what is interrupted is void.

    interrupted: 0, or the reason; negative where nothing was heard of the time before, so that nothing came true in it.
    """
    ring, cursor, last = state[0], state[4], state[5]
    while cursor[s, 1] > 0:
        slot = cursor[s, 0]
        due = ring[s, slot, 0] + horizon < now and interrupted >= 0
        if not due and interrupted == 0:
            break
        if due:
            m = _tell(i, r, s, slot, 0, last[s], band, state, out, m)
        else:
            m = _tell(i, r, s, slot, abs(interrupted), np.nan, band, state, out, m)
        cursor[s, 0] = (slot + 1) % ring.shape[1]
        cursor[s, 1] -= 1
    return m


@njit(cache=True)
def _tell(i, r, s, slot, void, reached, band, state, out, m):  # type: ignore[no-untyped-def]
    """Outcome `m`: the prediction in `slot` of symbol `s`, at price `reached`, or void."""
    ring, price, features, scores, _, _ = state
    o_event, o_before, o_row, o_stamps, o_batch_row, o_price, o_scores, o_features, o_label, o_void, o_line_up = out
    o_event[m], o_before[m], o_row[m], o_void[m] = i, r, s, void
    o_stamps[m, 0], o_stamps[m, 1] = ring[s, slot, 0], ring[s, slot, 1]
    o_batch_row[m], o_line_up[m] = ring[s, slot, 2], ring[s, slot, 3]
    o_price[m, 0], o_price[m, 1] = price[s, slot], reached
    o_scores[m, :] = scores[s, slot]
    o_features[m, :] = features[s, slot]
    moved = np.log(reached / price[s, slot])
    if void != 0:
        o_label[m] = np.nan
    elif abs(moved) <= band:
        o_label[m] = 0.5
    else:
        o_label[m] = 1.0 if moved > 0 else 0.0
    ring[s, slot, 2:] = -1  # what is remembered must not depend on where the log was cut
    scores[s, slot, :] = np.nan
    return m + 1

"""Rules judged in log order, compiled; `schemas.rules` says what the words mean, `processors.rule_state` what the arrays are."""

import numpy as np
from numba import njit

from processors.batch import NEWS
from processors.columns import HEARTBEAT, SESSION
from processors.interruptions import GAP
from processors.rule_fields import (
    CHANGE,
    MEAN,
    OF_BAR,
    OF_OUTCOME,
    OF_ROW,
    PART,
    PARTS,
    RELATIVE,
    VALUE,
    WINDOW_MEMORY,
    Z_SCORE,
)
from processors.timeline import FOLDED

VENUE, NOW, SINCE, FIRED_AT, FIRED, OPENED, CLOSES, UNTIL, DOWN = range(9)
NOTHING, OFF, ON = range(3)
LEAST = 20
"""Values that a z-score needs before it."""
NEWEST, WAS = 0, 1
NUMBER, LAST, COUNT, MEAN_OF, SQUARES = range(PART)


@njit(cache=True)
def judge(first, stop, at, events, rows, bars, outcomes, rules, state, touched, out):  # type: ignore[no-untyped-def]
    """Events `first` to `stop`; (next event, next row, next bar, next outcome, alerts). Stops early for want of room."""
    kind, venue, ts, up, door, breaks = events
    row_symbol, row_now, row_session, values = rows
    told, conditions = rules
    begin, rule_of, pair = state[0], state[1], state[2]
    r, b, o = at
    m = 0
    for i in range(first, stop):
        if m + len(rule_of) > len(out[0]):
            return i, r, b, o, m
        heard, time = False, row_now[r] if door[i] == FOLDED else ts[i]
        while b < len(bars[0]) and bars[0][b] == i:
            heard = True
            s, start = bars[1][b], bars[3][b, 0]
            for p in range(begin[s], begin[s + 1]):
                now = max(pair[p, NOW], time)
                if _counts(p, told[rule_of[p]], pair, now, start) and _take(
                    p, OF_BAR, bars[2][b], bars[4][b], bars[3][b, 1], conditions[rule_of[p]], told, state
                ):
                    touched[p] = 1
            b += 1
        while o < len(outcomes[0]) and outcomes[0][o] == i:
            heard = True
            s, start = outcomes[1][o], outcomes[2][o]
            for p in range(begin[s], begin[s + 1]):
                now = max(pair[p, NOW], time)
                if _counts(p, told[rule_of[p]], pair, now, start) and _take(
                    p, OF_OUTCOME, -1, outcomes[3][o], now, conditions[rule_of[p]], told, state
                ):
                    touched[p] = 1
            o += 1
        if door[i] == FOLDED:
            s = row_symbol[r]
            for p in range(begin[s], begin[s + 1]):
                if kind[i] == NEWS and told[rule_of[p]].venue != -1 and pair[p, VENUE] < 0:
                    continue
                _enter(p, i, kind[i], venue[i], row_now[r], row_session, breaks[i], pair, state, conditions[rule_of[p]])
                if _counts(p, told[rule_of[p]], pair, pair[p, NOW], pair[p, NOW]):
                    _take(p, OF_ROW, -1, values[:, r], pair[p, NOW], conditions[rule_of[p]], told, state)
                    touched[p] = 1
                elif pair[p, FIRED] == 0 and touched[p] == 0:
                    pair[p, SINCE] = -1
                if touched[p] == 1:
                    m = _decide(i, p, pair[p, NOW], told[rule_of[p]], state, out, m)
                    touched[p] = 0
            r += 1
        elif kind[i] == HEARTBEAT or (heard and kind[i] == SESSION):
            for p in range(len(rule_of)):
                its = kind[i] == HEARTBEAT and pair[p, VENUE] == venue[i]
                if not (its or touched[p] == 1):
                    continue
                pair[p, NOW] = max(pair[p, NOW], ts[i])
                if its:
                    _hear(p, up[i], breaks[i], pair)
                if touched[p] == 1 or (its and up[i] and _passes(p, told[rule_of[p]], pair)):
                    m = _decide(i, p, pair[p, NOW], told[rule_of[p]], state, out, m)
                touched[p] = 0
    return stop, r, b, o, m


@njit(cache=True)
def _enter(p, i, kind, venue, now, session, breaks, pair, state, conditions):  # type: ignore[no-untyped-def]
    """A row of the symbol: its time and session; a new one, or a gap before it, breaks what was waited for."""
    opened, closes, until = session
    if kind != NEWS:
        if pair[p, VENUE] < 0 and now < pair[p, NOW]:  # news alone had told the time, and the market is behind it
            pair[p, NOW], pair[p, SINCE], pair[p, UNTIL] = now, -1, -1
            pair[p, FIRED_AT] = min(pair[p, FIRED_AT], now)
        pair[p, VENUE] = venue
    pair[p, NOW] = max(pair[p, NOW], now)
    fresh = until[i] != pair[p, UNTIL]
    if fresh:
        pair[p, OPENED], pair[p, CLOSES], pair[p, UNTIL] = opened[i], closes[i], until[i]
        for c in range(len(conditions)):
            if conditions[c].made == CHANGE or conditions[c].made == RELATIVE or conditions[c].made == Z_SCORE:
                at = state[5][p] + conditions[c].memory
                state[6][at : at + WINDOW_MEMORY] = np.nan
            if conditions[c].of == OF_ROW and pair[p, FIRED] == 0 and state[3][p, c] == ON:
                state[3][p, c] = NOTHING  # what held yesterday is not said to hold today before it was seen
    if (fresh or breaks == -GAP or pair[p, DOWN] == 1) and pair[p, FIRED] == 0:
        pair[p, SINCE] = -1


@njit(cache=True)
def _hear(p, up, breaks, pair):  # type: ignore[no-untyped-def]
    """A heartbeat of its venue: time in which nobody listened, or the venue was down, is no time in which a rule held."""
    if (not up or breaks == -GAP or pair[p, DOWN] == 1) and pair[p, FIRED] == 0:
        pair[p, SINCE] = -1
    pair[p, DOWN] = 0 if up else 1


@njit(cache=True)
def _counts(p, rule, pair, now, at):  # type: ignore[no-untyped-def]
    """Whether what happened `at` a time counts for the rule, known `now`."""
    if rule.expires > 0 and now >= rule.expires:
        return False
    if rule.venue != -1 and pair[p, VENUE] != rule.venue:
        return False
    return rule.regular == 0 or (pair[p, OPENED] <= at < pair[p, CLOSES])


@njit(cache=True)
def _passes(p, rule, pair):  # type: ignore[no-untyped-def]
    """Whether time passes for the rule, though nothing is said of the symbol: its session goes on."""
    return pair[p, NOW] < pair[p, UNTIL] and _counts(p, rule, pair, pair[p, NOW], pair[p, NOW])


@njit(cache=True)
def _take(p, of, kind, numbers, at, conditions, told, state):  # type: ignore[no-untyped-def]
    """Give the conditions that look there their values; whether there is one that was given a number."""
    took = False
    rule_of, on, value, offset, memory = state[1], state[3], state[4], state[5], state[6]
    for c in range(told[rule_of[p]].conditions):
        line = conditions[c]
        if line.of != of or line.kind != kind:
            continue
        x = numbers[line.index]
        if not np.isfinite(x):
            continue
        took = True
        if line.made == MEAN:
            x = _mean(memory, offset[p] + line.memory, line.size, x)
        elif line.made != VALUE:
            x = _windowed(memory, offset[p] + line.memory, line.size, at, line.made, x)
        if not np.isfinite(x):
            continue
        value[p, c] = x
        y, t = line.direction * x, line.direction * line.threshold
        back = t - line.band
        if on[p, c] == ON:
            if y <= back:
                on[p, c] = OFF
        elif y > t and (on[p, c] == OFF or line.cross == 0):
            on[p, c] = ON
        elif y <= (back if line.cross == 1 else t):
            on[p, c] = OFF
    return took


@njit(cache=True)
def _decide(i, p, now, rule, state, out, m):  # type: ignore[no-untyped-def]
    """Fire or clear; the number of alerts after it."""
    pair, on, value = state[2], state[3], state[4]
    count = 0
    for c in range(rule.conditions):
        count += on[p, c] == ON
    holds = count > 0 if rule.any == 1 else count == rule.conditions
    if pair[p, FIRED] == 1:
        if holds:
            return m
        pair[p, FIRED], pair[p, SINCE] = 0, -1
    elif not holds:
        pair[p, SINCE] = -1
        return m
    else:
        if pair[p, SINCE] < 0:
            pair[p, SINCE] = now
        waited = now - pair[p, SINCE] >= rule.dwell
        cool = pair[p, FIRED_AT] < 0 or now - pair[p, FIRED_AT] >= rule.cool_down
        if not (waited and cool):
            return m
        pair[p, FIRED], pair[p, FIRED_AT] = 1, now
    c = 0
    while (on[p, c] == ON) != holds or np.isnan(value[p, c]):
        c += 1
    o_event, o_pair, o_fired, o_condition, o_value, o_now = out
    o_event[m], o_pair[m], o_fired[m], o_condition[m], o_value[m], o_now[m] = i, p, holds, c, value[p, c], now
    return m + 1


@njit(cache=True)
def _mean(memory, at, size, x):  # type: ignore[no-untyped-def]
    """Of the newest `size` values; NaN before there are so many."""
    if np.isnan(memory[at]):
        memory[at : at + 2] = 0.0
    memory[at + 2 + np.int64(memory[at + 1])] = x
    memory[at + 1] = (memory[at + 1] + 1) % size
    memory[at] = min(memory[at] + 1, size)
    if memory[at] < size:
        return np.nan
    total = 0.0
    for k in range(size):
        total += memory[at + 2 + k]
    return total / size


@njit(cache=True)
def _windowed(memory, at, size, now, made, x):  # type: ignore[no-untyped-def]
    """The change, or the distance from the mean, of a value against those before it; then it is one of them."""
    number = np.float64(now // size)
    if not number <= memory[at + NEWEST]:
        _move(memory, at, number)
    number = memory[at + NEWEST]
    if made == Z_SCORE:
        found = _distance(memory, at, number, x)
    elif made == RELATIVE:
        was = memory[at + WAS]
        found = (x - was) / abs(was) if was != 0 else np.nan
    else:
        found = x - memory[at + WAS]
    part = at + 2 + np.int64(number % PARTS) * PART
    memory[part + LAST] = x
    memory[part + COUNT] += 1
    apart = x - memory[part + MEAN_OF]
    memory[part + MEAN_OF] += apart / memory[part + COUNT]
    memory[part + SQUARES] += apart * (x - memory[part + MEAN_OF])
    return found


@njit(cache=True)
def _move(memory, at, number):  # type: ignore[no-untyped-def]
    """Begin part `number`; what leaves the window says what the value was."""
    newest = -1.0
    for k in range(PARTS):
        part = at + 2 + k * PART
        if memory[part + NUMBER] <= number - PARTS:
            if memory[part + NUMBER] > newest:
                newest, memory[at + WAS] = memory[part + NUMBER], memory[part + LAST]
            memory[part + NUMBER] = np.nan
    part = at + 2 + np.int64(number % PARTS) * PART
    memory[part : part + PART] = 0.0
    memory[part + NUMBER], memory[at + NEWEST] = number, number


@njit(cache=True)
def _distance(memory, at, number, x):  # type: ignore[no-untyped-def]
    """In standard deviations from the mean; parts are merged from the oldest on (Chan et al. 1979)."""
    count, mean, squares = 0.0, 0.0, 0.0
    for back in range(PARTS - 1, -1, -1):
        part = at + 2 + np.int64((number - back) % PARTS) * PART
        n = memory[part + COUNT]
        if memory[part + NUMBER] != number - back or n == 0:
            continue
        apart, count = memory[part + MEAN_OF] - mean, count + n
        mean = memory[part + MEAN_OF] if count == n else mean + apart * n / count
        squares += memory[part + SQUARES] + apart * apart * (count - n) * n / count
    variance = squares / (count - 1) if count >= LEAST else 0.0
    return (x - mean) / np.sqrt(variance) if variance > 0.0 else np.nan

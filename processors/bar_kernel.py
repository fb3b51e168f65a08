"""The fold of trades into bars, compiled; `processors.bars` says what the arrays are."""

from typing import Final

import numpy as np
from numba import njit

from processors.batch import TRADE
from processors.columns import CANCEL, CORRECT, HEARTBEAT
from processors.exact import add, clear, rounded, split
from processors.feeds import HEARD, down_ms, hear
from processors.timeline import CONTROL, FOLDED, LATE

SLOTS: Final = 2
"""Time bars of one kind that may be open at once."""
BY_TIME, BY_COUNT, BY_VOLUME, BY_VALUE = 0, 1, 2, 3
OPEN, HIGH, LOW, CLOSE, VOLUME, VALUE = range(6)
START, END, N_TRADES, FIRST_TS, FIRST_SEQ, LAST_TS, LAST_SEQ, LATE_N = range(8)
FOR_LATE, FOR_CORRECTION, FOR_CLOSED = range(3)
NEARLY: Final = 1 - 1e-9
"""Of a size: what a running sum, which is not exact, has to reach before the exact one is asked for."""


@njit(cache=True)
def fold(at, events, placed, venue_of, symbols, rules, state, feeds, out, asked):  # type: ignore[no-untyped-def]
    """Take events from `at` on until they end or there is no room; (next event, bars closed, requests made)."""
    kind, row, venue, seq, ts, up, price, size = events
    door, now, fresh, unsure = placed
    lateness, longest, by, cut = rules
    numbers, stamps, sums, due, recheck = state
    m, r = 0, 0
    most = symbols * len(by) * SLOTS + 2 * len(by)
    for i in range(at, len(kind)):
        if m + most > len(out[0]) or r + most > len(asked[0]):
            return i, m, r
        if kind[i] == HEARTBEAT:
            hear(feeds[venue[i]], ts[i], up[i], longest)
            for s in range(symbols):
                if venue_of[s] == venue[i] and due[s] <= ts[i] - lateness:
                    m, r = _close_due(i, s, ts[i], rules, state, feeds[venue[i]], m, r, out, asked)
        elif (kind[i] == CORRECT or kind[i] == CANCEL) and door[i] == CONTROL:
            recheck[row[i]] = max(recheck[row[i]], now[i], ts[i])
            r = _ask(i, row[i], -1, 0, 0, FOR_CORRECTION, False, 0, r, asked)
        elif door[i] == FOLDED or (door[i] == LATE and kind[i] == TRADE):
            s, late = row[i], door[i] == LATE
            feed = feeds[venue_of[s]]
            if not late and due[s] <= now[i] - lateness:
                m, r = _close_due(i, s, now[i], rules, state, feed, m, r, out, asked)
            if fresh[i]:
                m = _close_partial(i, s, rules, state, feed, m, out)
            if kind[i] != TRADE:
                continue
            if feed[HEARD] < 0:
                feed[HEARD] = ts[i]
            value = price[i] * size[i]
            exact_size, exact_value = split(size[i]), split(value)
            for k in range(len(by)):
                slot, start, end = np.int64(0), ts[i], ts[i]
                if by[k] == BY_TIME:
                    width = np.int64(cut[k])
                    number = ts[i] // width
                    slot, start, end = number % SLOTS, number * width, (number + 1) * width
                    if end + lateness <= now[i]:
                        gap = down_ms(feed, start, end, now[i], longest)
                        r = _ask(i, s, k, start, end, FOR_LATE, start < feed[HEARD], gap, r, asked)
                        continue
                    if unsure[i]:  # it may have been seen before: the bar is looked at again when it closes
                        recheck[s] = max(recheck[s], start)
                    due[s] = min(due[s], end)
                elif late:
                    continue
                _take(
                    numbers[s, k, slot], stamps[s, k, slot], sums[s, k, slot], ts[i], seq[i], price[i], size[i], value,
                    exact_size, exact_value, start, end, late,
                )  # fmt: skip
                if by[k] != BY_TIME:
                    stamps[s, k, 0, END] = max(stamps[s, k, 0, END], ts[i])
                    if _filled(by[k], cut[k], numbers[s, k, 0], stamps[s, k, 0], sums[s, k, 0]):
                        m = _close(i, s, k, 0, False, now[i], longest, state, feed, m, out)
    return len(kind), m, r


@njit(cache=True)
def _filled(by, cut, numbers, stamps, sums):  # type: ignore[no-untyped-def]
    if by == BY_COUNT:
        return stamps[N_TRADES] >= cut
    which = 0 if by == BY_VOLUME else 1
    return numbers[VOLUME + which] >= cut * NEARLY and rounded(sums, which) >= cut


@njit(cache=True)
def _take(  # type: ignore[no-untyped-def]
    numbers, stamps, sums, ts, seq, price, size, value, exact_size, exact_value, start, end, late
):
    """Add a trade; open and close are the first and the last by (time, sequence), whatever the order of arrival."""
    if stamps[N_TRADES] == 0:
        stamps[START], stamps[END] = start, end
        stamps[FIRST_TS], stamps[FIRST_SEQ], stamps[LAST_TS], stamps[LAST_SEQ] = ts, seq, ts, seq
        stamps[LATE_N] = late
        numbers[OPEN], numbers[HIGH], numbers[LOW], numbers[CLOSE] = price, price, price, price
        numbers[VOLUME], numbers[VALUE] = 0.0, 0.0
        clear(sums)
    elif ts < stamps[LAST_TS] or (ts == stamps[LAST_TS] and seq < stamps[LAST_SEQ]):
        stamps[LATE_N] += 1
    else:
        stamps[LAST_TS], stamps[LAST_SEQ], numbers[CLOSE] = ts, seq, price
        stamps[LATE_N] += late
    if ts < stamps[FIRST_TS] or (ts == stamps[FIRST_TS] and seq < stamps[FIRST_SEQ]):
        stamps[FIRST_TS], stamps[FIRST_SEQ], numbers[OPEN] = ts, seq, price
    numbers[HIGH], numbers[LOW] = max(numbers[HIGH], price), min(numbers[LOW], price)
    numbers[VOLUME] += size
    numbers[VALUE] += value
    add(sums, 0, exact_size)
    add(sums, 1, exact_value)
    stamps[N_TRADES] += 1


@njit(cache=True)
def _close_due(i, s, now, rules, state, feed, m, r, out, asked):  # type: ignore[no-untyped-def]
    """Close the time bars whose end is `lateness` past, the older first."""
    lateness, longest, by, _ = rules
    _, stamps, _, due, recheck = state
    due[s] = np.iinfo(np.int64).max
    for k in range(len(by)):
        if by[k] != BY_TIME:
            continue
        first = 0 if stamps[s, k, 0, START] <= stamps[s, k, 1, START] else 1
        for j in range(SLOTS):
            slot = (first + j) % SLOTS
            if stamps[s, k, slot, N_TRADES] == 0:
                continue
            start, end = stamps[s, k, slot, START], stamps[s, k, slot, END]
            if end + lateness <= now:
                m = _close(i, s, k, slot, False, now, longest, state, feed, m, out)
                if start <= recheck[s]:
                    r = _ask(i, s, k, start, end, FOR_CLOSED, out[5][m - 1], out[6][m - 1], r, asked)
            else:
                due[s] = min(due[s], end)
    return m, r


@njit(cache=True)
def _close_partial(i, s, rules, state, feed, m, out):  # type: ignore[no-untyped-def]
    """A new session: what counts trades, volume or value starts anew."""
    by = rules[2]
    for k in range(len(by)):
        if by[k] != BY_TIME and state[1][s, k, 0, N_TRADES] > 0:
            m = _close(i, s, k, 0, True, state[1][s, k, 0, END], rules[1], state, feed, m, out)
    return m


@njit(cache=True)
def _close(i, s, k, slot, partial, now, longest, state, feed, m, out):  # type: ignore[no-untyped-def]
    numbers, stamps, sums = state[0][s, k, slot], state[1][s, k, slot], state[2][s, k, slot]
    o_event, o_row, o_kind, o_numbers, o_stamps, o_partial, o_gap = out
    numbers[VOLUME], numbers[VALUE] = rounded(sums, 0), rounded(sums, 1)
    o_event[m], o_row[m], o_kind[m] = i, s, k
    o_numbers[m, :] = numbers
    o_stamps[m, :] = stamps
    o_partial[m] = partial or stamps[START] < feed[HEARD]
    o_gap[m] = down_ms(feed, stamps[START], stamps[END], now, longest)
    stamps[N_TRADES] = 0
    return m + 1


@njit(cache=True)
def _ask(i, s, k, start, end, why, partial, gap, r, asked):  # type: ignore[no-untyped-def]
    a_event, a_row, a_kind, a_start, a_end, a_why, a_partial, a_gap = asked
    a_event[r], a_row[r], a_kind[r], a_start[r], a_end[r], a_why[r] = i, s, k, start, end, why
    a_partial[r], a_gap[r] = partial, gap
    return r + 1

"""What the oscillators must say: from one-minute bars of the mid, the whole session's, in plain Python."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from processors.batch import NS, QUOTE, TRADE, Column, EventBatch, Flags
from processors.indicators.bollinger import BollingerZ

MINUTE_NS = 60 * NS
REMEMBERED_BARS = 400


def bars(rows: EventBatch) -> dict[int, list[float]]:
    """Mids of trades and quotes by minute."""
    found: dict[int, list[float]] = {}
    for kind, now, mid in zip(rows.kind, rows.now, rows.mid, strict=True):
        if kind in (TRADE, QUOTE) and math.isfinite(mid):
            found.setdefault(int(now // MINUTE_NS), []).append(float(mid))
    return found


def at_rows(rows: EventBatch, after_bar: list[float]) -> Column:
    """At every row the value after the last bar of an earlier minute."""
    minutes = np.array(list(bars(rows)))
    closed = np.searchsorted(minutes, rows.now // MINUTE_NS, side="left")
    return np.array([math.nan, *after_bar])[closed]


def closes_of(rows: EventBatch) -> list[float]:
    return [mids[-1] for mids in bars(rows).values()]


def rsi(declared: Any, rows: EventBatch) -> Column:
    n, values, rise, fall = declared.window_m, [math.nan], 0.0, 0.0
    for k, (before, close) in enumerate(pairwise(closes_of(rows)), start=1):
        up, down = max(close - before, 0.0), max(before - close, 0.0)
        keep = (k - 1) / k if k <= n else (n - 1) / n
        rise, fall = rise * keep + up * (1 - keep), fall * keep + down * (1 - keep)
        strength = 100.0 - 100.0 / (1.0 + rise / fall) if fall else 100.0 if rise else 50.0
        values.append(strength if k >= n else math.nan)
    return at_rows(rows, values)


def macd_hist(declared: Any, rows: EventBatch) -> Column:
    closes = closes_of(rows)
    skipped = declared.slow_m - declared.fast_m
    fast = [math.nan] * skipped + _ema(closes[skipped:], declared.fast_m)
    macd = [f - s for f, s in zip(fast, _ema(closes, declared.slow_m), strict=False)]
    begun = declared.slow_m - 1
    signal = [math.nan] * begun + _ema(macd[begun:], declared.signal_m)
    return at_rows(rows, [(m - s) / c for m, s, c in zip(macd, signal, closes, strict=False)][: len(closes)])


def _ema(values: list[float], n: int) -> list[float]:
    """Seeded with the plain mean of the first n."""
    if len(values) < n:
        return [math.nan] * len(values)
    means = [math.nan] * (n - 1) + [math.fsum(values[:n]) / n]
    for value in values[n:]:
        means.append(means[-1] * (1 - 2 / (n + 1)) + value * 2 / (n + 1))
    return means


def bollinger_z(declared: Any, rows: EventBatch) -> Column:
    closes, n = closes_of(rows), declared.window_m
    values = [math.nan] * (n - 1)
    for k in range(n, len(closes) + 1):
        last = np.array(closes[k - n : k])
        values.append(0.0 if len(set(last)) == 1 else (last[-1] - last.mean()) / last.std())
    return at_rows(rows, values[: len(closes)])


def atr(declared: Any, rows: EventBatch) -> Column:
    n, values, ranges, mean = declared.window_m, [math.nan], [], math.nan
    for before, mids in pairwise(bars(rows).values()):
        ranges.append(max(max(mids) - min(mids), abs(max(mids) - before[-1]), abs(min(mids) - before[-1])))
        mean = math.fsum(ranges) / n if len(ranges) <= n else mean - mean / n + ranges[-1] / n
        values.append(mean / mids[-1] if len(ranges) >= n else math.nan)
    return at_rows(rows, values)


def left_bars(declared: Any, rows: EventBatch, since: int) -> Flags:
    """Bars enough have been closed since the one that row `since` is in."""
    remembered = declared.window_m if isinstance(declared, BollingerZ) else REMEMBERED_BARS
    minutes = np.array(list(bars(rows)))
    minute = rows.now // MINUTE_NS
    closed = np.searchsorted(minutes, minute, side="left") - np.searchsorted(minutes, minute[since], side="right")
    return np.asarray(closed >= remembered)

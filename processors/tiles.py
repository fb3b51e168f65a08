"""TiledWindow: sums over the last while, from aligned tiles that are merged and never subtracted.

Time is cut into tiles of `width_ns`, aligned to the epoch. The window at `now` is the tile of `now` and the
`tiles - 1` before it, so it is fully covered (warm) once a whole window has passed since the symbol's first row, and
its bits depend on nothing older. A bad print leaves no trace after its tile has left: nothing is ever subtracted.

With weights the window is an exponential mean cut off at its end: a tile `k` tiles old counts
`0.5 ** (k / PER_HALF_LIFE)`.

Tiles lie in the order of their age and move up by one whenever a new one opens: 60 moves cost less than 60 divisions
for places in a ring, and merging is a product of two straight lines.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NS, Column, Integers
from schemas.errors import IndicatorError

TILES: Final = 60
PER_HALF_LIFE: Final = 8
HALF_LIVES: Final = 6
"""An exponential window ends after this many: the rest would be 1.6 % of the weight."""
LANES: Final = 4
"""Merging adds up every fourth tile, then the four sums: one fixed order, four times as fast as one long sum."""

EDGE: Final = 0
WARM: Final = 1
CLOSED: Final = 0
CURRENT: Final = 1

U0, U1, U2, U3, U4 = (np.uint64(i) for i in range(5))
"""Places in a tile are counted unsigned: Numba then need not ask whether each is negative (three times as fast)."""


@dataclass(slots=True)
class TiledWindow:
    """One window over some sums, for all symbols."""

    width_ns: int
    weight: Column
    """[tiles]: what a tile counts, by its age in tiles."""
    closed_s: float
    """Seconds (weighted) that the closed tiles of a full window cover."""
    clock: Integers
    """[symbols, 2]: EDGE, ns at which the current tile ends, and WARM, ns from which on the window has been seen whole."""
    tiles: NDArray[np.float64]
    """[symbols, sums, 1 + tiles]: CLOSED, the closed tiles merged; CURRENT; then the closed ones, youngest first."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.clock, self.tiles)


def _started(symbols: int, sums: int, width_ns: int, weight: Column, empty: float = 0.0) -> TiledWindow:
    if width_ns < 1:
        raise IndicatorError(f"a window needs at least one nanosecond a tile, was {width_ns}")
    assert len(weight) % LANES == 0
    return TiledWindow(
        width_ns=width_ns,
        weight=weight,
        closed_s=float(weight[1:].sum()) * width_ns / NS,
        clock=np.full((symbols, 2), -1, np.int64),
        tiles=np.full((symbols, sums, 1 + len(weight)), empty),
    )


def window(symbols: int, *, window_s: float, sums: int) -> TiledWindow:
    """Plain sums over the last `window_s` seconds, in 60 tiles."""
    return _started(symbols, sums, _width_ns("window_s", window_s, TILES), np.ones(TILES))


def decaying(symbols: int, *, half_life_s: float, sums: int) -> TiledWindow:
    """Sums whose parts halve every `half_life_s` seconds (in eighths of it), cut off after six half-lives."""
    age = np.arange(PER_HALF_LIFE * HALF_LIVES)
    width_ns = _width_ns("half_life_s", half_life_s, PER_HALF_LIFE)
    return _started(symbols, sums, width_ns, 0.5 ** (age / PER_HALF_LIFE))


def highest(symbols: int, *, window_s: float) -> TiledWindow:
    """The highest value of the last `window_s` seconds, in 60 tiles; to be moved by `open_tile_highest`."""
    return _started(symbols, 1, _width_ns("window_s", window_s, TILES), np.ones(TILES), empty=-np.inf)


def _width_ns(name: str, seconds: float, parts: int) -> int:
    if not 0 < seconds < np.inf:
        raise IndicatorError(f"{name} must be positive and finite, was {seconds!r}")
    return round(seconds * NS / parts)


@njit(cache=True)
def tile_ended(clock, s, now):  # type: ignore[no-untyped-def]
    """Whether the current tile of symbol `s` is over at `now`, or there is none yet."""
    return now >= clock[s, EDGE]


@njit(cache=True)
def open_tile(clock, tiles, weight, width_ns, s, now):  # type: ignore[no-untyped-def]
    """Open the tile of `now`, which is `tiles[s, :, CURRENT]` from then on.

    Every row of a symbol asks `tile_ended`, whatever its kind: a window moves with time, not with trades. The question is
    apart from the deed since Numba counts references around a call that it cannot inline: 40 ns a row.
    """
    gap = _turn(clock, len(weight), width_ns, s, now)
    if gap > 0:
        for j in range(tiles.shape[1]):
            _shift(tiles, s, j, gap, 0.0, 0.0)
            tiles[s, j, CLOSED] = _merge(tiles, s, j, weight)


@njit(cache=True)
def open_tile_standing(clock, tiles, weight, width_ns, standing, since, s, now):  # type: ignore[no-untyped-def]
    """As `open_tile`, for the one sum of a value that stands until it is replaced, times the seconds that it stood.

    standing: [symbols], the value; since: [symbols], ns up to which its time has been added to the current tile.
    """
    end = clock[s, EDGE]
    gap = _turn(clock, len(weight), width_ns, s, now)
    if gap > 0:
        tiles[s, 0, CURRENT] += standing[s] * seconds(end - since[s])
        _shift(tiles, s, 0, gap, standing[s] * seconds(width_ns), 0.0)
        tiles[s, 0, CLOSED] = _merge(tiles, s, 0, weight)
        since[s] = clock[s, EDGE] - width_ns


@njit(cache=True)
def open_tile_highest(clock, tiles, width_ns, standing, s, now):  # type: ignore[no-untyped-def]
    """As `open_tile`, for the highest of a value that stands until it is replaced: a new tile begins with it."""
    gap = _turn(clock, tiles.shape[2] - 1, width_ns, s, now)
    if gap > 0:
        _shift(tiles, s, 0, gap, standing[s], standing[s])
        top = -np.inf
        for k in range(CURRENT + 1, tiles.shape[2]):
            top = max(top, tiles[s, 0, k])
        tiles[s, 0, CLOSED] = top


@njit(cache=True)
def _turn(clock, tiles, width_ns, s, now):  # type: ignore[no-untyped-def]
    """Set the clock to the tile of `now`; by how many tiles it went on, 0 at the first row."""
    if clock[s, EDGE] < 0:
        clock[s, EDGE] = (now // width_ns + 1) * width_ns
        clock[s, WARM] = clock[s, EDGE] + (tiles - 1) * width_ns
        return 0
    gap = (now - clock[s, EDGE]) // width_ns + 1
    clock[s, EDGE] += gap * width_ns
    return min(gap, tiles)


@njit(cache=True)
def _shift(tiles, s, j, gap, skipped, opened):  # type: ignore[no-untyped-def]
    """Let every tile grow older by `gap`; what lies between is `skipped`, the new one is `opened`."""
    row, line, by = np.uint64(s), np.uint64(j), np.uint64(gap)
    k = np.uint64(tiles.shape[2] - 1)
    while k > by:
        tiles[row, line, k] = tiles[row, line, k - by]
        k -= U1
    while k > U1:
        tiles[row, line, k] = skipped
        k -= U1
    tiles[row, line, U1] = opened


@njit(cache=True)
def _merge(tiles, s, j, weight):  # type: ignore[no-untyped-def]
    """Weighted sum of the tiles just after a turn, when the current one is 0."""
    row, line, n = np.uint64(s), np.uint64(j), np.uint64(len(weight))
    a = b = c = d = 0.0
    for k in range(U0, n, U4):
        a += weight[k] * tiles[row, line, k + U1]
        b += weight[k + U1] * tiles[row, line, k + U2]
        c += weight[k + U2] * tiles[row, line, k + U3]
        d += weight[k + U3] * tiles[row, line, k + U4]
    return (a + b) + (c + d)


@njit(cache=True)
def total(tiles, s, j):  # type: ignore[no-untyped-def]
    """Sum `j` over the window."""
    return tiles[s, j, CLOSED] + tiles[s, j, CURRENT]


@njit(cache=True)
def warm(clock, s, now):  # type: ignore[no-untyped-def]
    """Whether every tile of the window has been seen whole (but the current one)."""
    return now >= clock[s, WARM] >= 0


@njit(cache=True)
def covered_s(clock, width_ns, closed_s, s, now):  # type: ignore[no-untyped-def]
    """Seconds (weighted) that a warm window covers: the closed tiles and what has passed of the current one."""
    return closed_s + seconds(now - (clock[s, EDGE] - width_ns))


@njit(cache=True)
def seconds(ns):  # type: ignore[no-untyped-def]
    """Nanoseconds as seconds."""
    return ns / 1e9

"""TiledWindow: sums over the last while, from aligned tiles that are merged and never subtracted.

Time is cut into tiles of `width_ns`, aligned to the epoch. The window at `now` is the tile of `now` and the
`tiles - 1` before it, so it is fully covered (warm) once a whole window has passed since the symbol's first row, and
its bits depend on nothing older. A bad print leaves no trace after its tile has left: nothing is ever subtracted.

With weights the window is an exponential mean cut off at its end: a tile `k` tiles old counts
`0.5 ** (k / PER_HALF_LIFE)`.
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


@dataclass(slots=True)
class TiledWindow:
    """Arrays of one window for all symbols, shapes: [symbols], [symbols], [symbols, tiles, sums], [symbols, sums]."""

    width_ns: int
    weight: Column
    """[tiles]: what a tile counts, by its age in tiles."""
    tile: Integers
    """Number of the current tile, -1 before the first row."""
    first: Integers
    """Number of the tile of the first row."""
    ring: NDArray[np.float64]
    merged: NDArray[np.float64]
    """Weighted sum of the closed tiles, oldest first; made anew whenever the tile changes."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is remembered."""
        return (self.tile, self.first, self.ring, self.merged)


def _started(symbols: int, sums: int, width_ns: int, weight: Column) -> TiledWindow:
    if width_ns < 1:
        raise IndicatorError(f"a window needs at least one nanosecond a tile, was {width_ns}")
    return TiledWindow(
        width_ns=width_ns,
        weight=weight,
        tile=np.full(symbols, -1, np.int64),
        first=np.full(symbols, -1, np.int64),
        ring=np.zeros((symbols, len(weight), sums)),
        merged=np.zeros((symbols, sums)),
    )


def window(symbols: int, *, window_s: float, sums: int) -> TiledWindow:
    """Plain sums over the last `window_s` seconds, in 60 tiles."""
    if not window_s > 0:
        raise IndicatorError(f"window_s must be positive, was {window_s!r}")
    return _started(symbols, sums, round(window_s * NS / TILES), np.ones(TILES))


def decaying(symbols: int, *, half_life_s: float, sums: int) -> TiledWindow:
    """Sums whose parts halve every `half_life_s` seconds (in eighths of it), cut off after six half-lives."""
    if not half_life_s > 0:
        raise IndicatorError(f"half_life_s must be positive, was {half_life_s!r}")
    age = np.arange(PER_HALF_LIFE * HALF_LIVES)
    return _started(symbols, sums, round(half_life_s * NS / PER_HALF_LIFE), 0.5 ** (age / PER_HALF_LIFE))


@njit(cache=True)
def advance(tile, first, ring, merged, weight, width_ns, s, now):  # type: ignore[no-untyped-def]
    """Move symbol `s` to the tile of `now`; the slot of that tile in the ring.

    Call it for every row of the symbol, whatever its kind: a window moves with time, not with trades.
    """
    t = now // width_ns
    tiles = ring.shape[1]
    if first[s] < 0:
        first[s] = t
        tile[s] = t
    elif t > tile[s]:
        gap = min(t - tile[s], tiles)
        for k in range(gap):
            ring[s, (t - k) % tiles, :] = 0.0
        tile[s] = t
        for j in range(ring.shape[2]):
            total = 0.0
            for k in range(tiles - 1, 0, -1):
                total += weight[k] * ring[s, (t - k) % tiles, j]
            merged[s, j] = total
    return t % tiles


@njit(cache=True)
def warm(tile, first, ring, s):  # type: ignore[no-untyped-def]
    """Whether every tile of the window has been seen whole (but the current one)."""
    return tile[s] - first[s] >= ring.shape[1]

"""The best quotes now: spread, imbalance, microprice; and time-weighted means of them."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import QUOTE, Column, EventBatch, Integers
from processors.tiles import (
    CURRENT,
    TiledWindow,
    covered_s,
    decaying,
    open_tile,
    open_tile_standing,
    seconds,
    tile_ended,
    total,
    warm,
)

SPREAD: Final = 0
IMBALANCE: Final = 1
MICROPRICE: Final = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """Ask less bid, as a fraction of the mid."""

    def start(self, symbols: int) -> "BookState":  # noqa: ARG002 - remembers nothing of any
        return BookState(SPREAD)


@dataclass(frozen=True, slots=True)
class BookImbalance:
    """Size at the bid less size at the ask, as a fraction of both: in [-1, 1]; NaN where quotes have no sizes."""

    def start(self, symbols: int) -> "BookState":  # noqa: ARG002 - remembers nothing of any
        return BookState(IMBALANCE)


@dataclass(frozen=True, slots=True)
class MicropriceDev:
    """Distance of the microprice from the mid, as a fraction of the mid; NaN where quotes have no sizes.

    The microprice is the mean of bid and ask, each weighted by the size at the other (Stoikov 2018: the weighted mid);
    its distance is half the spread times the imbalance.
    """

    def start(self, symbols: int) -> "BookState":  # noqa: ARG002 - remembers nothing of any
        return BookState(MICROPRICE)


@dataclass(slots=True)
class BookState:
    """Remembers nothing: the batch carries the quotes forward."""

    which: int

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return ()

    def fold(self, batch: EventBatch, out: Column) -> None:
        _fold(self.which, batch.bid, batch.bid_size, batch.ask, batch.ask_size, out)


@dataclass(frozen=True, slots=True)
class SpreadEwm:
    """Time-weighted mean of the spread (fraction of the mid); a second counts half after every `half_life_s` seconds.

    Cut off after six half-lives. The first quote of a session starts the window.
    """

    half_life_s: float

    def start(self, symbols: int) -> "BookEwmState":
        return _ewm(SPREAD, symbols, self.half_life_s)


@dataclass(frozen=True, slots=True)
class BookImbalanceEwm:
    """Time-weighted mean of the book imbalance; a second counts half after every `half_life_s` seconds.

    Cut off after six half-lives. The first quote with a size starts the window; a quote without sizes changes nothing.
    """

    half_life_s: float

    def start(self, symbols: int) -> "BookEwmState":
        return _ewm(IMBALANCE, symbols, self.half_life_s)


@dataclass(slots=True)
class BookEwmState:
    which: int
    stood: TiledWindow
    """Sum: value times the seconds that it stood."""
    standing: Column
    """[symbols]: the value of the last quote."""
    since: Integers
    """[symbols]: ns up to which its time has been added to the current tile."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (*self.stood.arrays, self.standing, self.since)

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.stood
        _fold_ewm(
            self.which, batch.kind, batch.symbol, batch.now, batch.bid, batch.bid_size, batch.ask, batch.ask_size,
            w.clock, w.tiles, w.weight, w.width_ns, w.closed_s, self.standing, self.since, out,
        )  # fmt: skip


def _ewm(which: int, symbols: int, half_life_s: float) -> BookEwmState:
    stood = decaying(symbols, half_life_s=half_life_s, sums=1)
    return BookEwmState(which, stood, np.full(symbols, np.nan), np.full(symbols, -1, np.int64))


@njit(cache=True)
def _fold(which, bid, bid_size, ask, ask_size, out):  # type: ignore[no-untyped-def]
    for i in range(len(bid)):
        out[i] = _measure(which, bid[i], bid_size[i], ask[i], ask_size[i])


@njit(cache=True)
def _fold_ewm(  # type: ignore[no-untyped-def]
    which, kind, symbol, now, bid, bid_size, ask, ask_size,
    clock, tiles, weight, width_ns, closed_s, standing, since, out,
):  # fmt: skip
    for i in range(len(kind)):
        s = symbol[i]
        t = now[i]
        if tile_ended(clock, s, t) and not np.isnan(standing[s]):
            open_tile_standing(clock, tiles, weight, width_ns, standing, since, s, t)
        if kind[i] == QUOTE:
            value = _measure(which, bid[i], bid_size[i], ask[i], ask_size[i])
            if np.isfinite(value):
                if np.isnan(standing[s]):
                    open_tile(clock, tiles, weight, width_ns, s, t)
                else:
                    tiles[s, 0, CURRENT] += standing[s] * seconds(t - since[s])
                standing[s] = value
                since[s] = t
        if warm(clock, s, t):
            stood = total(tiles, s, 0) + standing[s] * seconds(t - since[s])
            out[i] = stood / covered_s(clock, width_ns, closed_s, s, t)
        else:
            out[i] = np.nan


@njit(cache=True)
def _measure(which, bid, bid_size, ask, ask_size):  # type: ignore[no-untyped-def]
    spread = (ask - bid) / (0.5 * (bid + ask))
    if which == SPREAD:
        return spread
    depth = bid_size + ask_size
    if not depth > 0.0:
        return np.nan
    imbalance = (bid_size - ask_size) / depth
    return imbalance if which == IMBALANCE else 0.5 * spread * imbalance

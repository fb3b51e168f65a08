"""What the news says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import NEWS, Column, EventBatch
from processors.tiles import CURRENT, TiledWindow, decaying, open_tile, tile_ended, total, warm


@dataclass(frozen=True, slots=True)
class NewsSentimentEwm:
    """Sum of the sentiment of news, divided by 1 plus their number: in (-1, 1), 0 where there was no news.

    Each item counts half as much after every `half_life_s` seconds, above and below the line; cut off after six
    half-lives. The 1 is a prior: an item of sentiment 0 that never fades, so that old or scarce news says little.
    """

    half_life_s: float

    def start(self, symbols: int) -> "NewsState":
        return NewsState(decaying(symbols, half_life_s=self.half_life_s, sums=2))


@dataclass(slots=True)
class NewsState:
    told: TiledWindow
    """Sums: items, sentiment."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.told.arrays

    def fold(self, batch: EventBatch, out: Column) -> None:
        w = self.told
        _fold(batch.kind, batch.symbol, batch.now, batch.sentiment, w.clock, w.tiles, w.weight, w.width_ns, out)


@njit(cache=True)
def _fold(kind, symbol, now, sentiment, clock, tiles, weight, width_ns, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if tile_ended(clock, s, now[i]):
            open_tile(clock, tiles, weight, width_ns, s, now[i])
        if kind[i] == NEWS and np.isfinite(sentiment[i]):
            tiles[s, 0, CURRENT] += 1.0
            tiles[s, 1, CURRENT] += sentiment[i]
        out[i] = total(tiles, s, 1) / (1.0 + total(tiles, s, 0)) if warm(clock, s, now[i]) else np.nan

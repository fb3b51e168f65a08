"""Time itself: since the last trade, and within the session."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.batch import TRADE, Column, EventBatch, Integers
from processors.tiles import seconds


@dataclass(frozen=True, slots=True)
class SinceTrade:
    """Seconds since the last trade; NaN before the session's first."""

    def start(self, symbols: int) -> "SinceTradeState":
        return SinceTradeState(np.full(symbols, -1, np.int64))


@dataclass(slots=True)
class SinceTradeState:
    traded: Integers
    """[symbols]: ns of the last trade."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (self.traded,)

    def fold(self, batch: EventBatch, out: Column) -> None:
        _since(batch.kind, batch.symbol, batch.now, self.traded, out)


@dataclass(frozen=True, slots=True)
class SessionFrac:
    """Share of the regular session that has passed: 0 before it opens, 1 after it has closed."""

    def start(self, symbols: int) -> "SessionFracState":  # noqa: ARG002 - remembers nothing of any
        return SessionFracState()


@dataclass(slots=True)
class SessionFracState:
    """Remembers nothing: the batch knows the session."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return ()

    def fold(self, batch: EventBatch, out: Column) -> None:
        _share(batch.now, batch.session_open, batch.session_close, out)


@njit(cache=True)
def _since(kind, symbol, now, traded, out):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        s = symbol[i]
        if kind[i] == TRADE:
            traded[s] = now[i]
        out[i] = seconds(now[i] - traded[s]) if traded[s] >= 0 else np.nan


@njit(cache=True)
def _share(now, opened, closes, out):  # type: ignore[no-untyped-def]
    for i in range(len(now)):
        length = closes[i] - opened[i]
        out[i] = min(max((now[i] - opened[i]) / length, 0.0), 1.0) if length > 0 else np.nan

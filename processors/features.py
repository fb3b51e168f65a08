"""FEATURES, declared once, and the engine that folds them.

A name is a contract: ClickHouse column, model input, API field. `FEATURES_ID` is the hash of all declarations and of
the code they run (`KERNELS_VERSION`): it stands in every row, every model manifest and the dataflow's step id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.batch import EventBatch, Flags, Matrix, Rows
from processors.indicator import Indicator, IndicatorState
from processors.indicators.atr import Atr
from processors.indicators.bollinger import BollingerZ
from processors.indicators.book import BookImbalance, BookImbalanceEwm, MicropriceDev, Spread, SpreadEwm
from processors.indicators.clocks import SessionFrac, SinceTrade
from processors.indicators.extremes import HighDist, LowDist
from processors.indicators.flow import FlowImbalance, TradeSignEwm
from processors.indicators.intensity import Intensity
from processors.indicators.macd import MacdHist
from processors.indicators.news import NewsSentimentEwm
from processors.indicators.order_flow import OrderFlowImbalance
from processors.indicators.returns import ReturnEwm
from processors.indicators.rsi import Rsi
from processors.indicators.volatility import Volatility, VolatilityEwm
from processors.indicators.vwap import Vwap

KERNELS_VERSION: Final = 1
"""Raised by hand when a kernel's arithmetic changes, so that old state is not folded on with new code."""

STRETCH: Final = 8_192
"""Rows that all features fold before any goes on: their columns then stay in the processor's cache (2.5 times as fast)."""

FEATURES: Final[Mapping[str, Indicator]] = {
    "return_ewm_1s": ReturnEwm(half_life_s=1),
    "return_ewm_5s": ReturnEwm(half_life_s=5),
    "return_ewm_30s": ReturnEwm(half_life_s=30),
    "volatility_ewm_10s": VolatilityEwm(half_life_s=10),
    "volatility_ewm_60s": VolatilityEwm(half_life_s=60),
    "volatility_60s": Volatility(window_s=60),
    "volatility_300s": Volatility(window_s=300),
    "vwap_dev_10s": Vwap(window_s=10),
    "vwap_dev_60s": Vwap(window_s=60),
    "vwap_dev_300s": Vwap(window_s=300),
    "high_dist_300s": HighDist(window_s=300),
    "low_dist_300s": LowDist(window_s=300),
    "flow_imbalance_10s": FlowImbalance(window_s=10),
    "flow_imbalance_60s": FlowImbalance(window_s=60),
    "trade_sign_ewm_10s": TradeSignEwm(half_life_s=10),
    "ofi_10s": OrderFlowImbalance(window_s=10),
    "book_imbalance": BookImbalance(),
    "book_imbalance_ewm_5s": BookImbalanceEwm(half_life_s=5),
    "spread": Spread(),
    "spread_ewm_60s": SpreadEwm(half_life_s=60),
    "microprice_dev": MicropriceDev(),
    "trade_intensity_10s": Intensity(of="trade", window_s=10),
    "trade_intensity_60s": Intensity(of="trade", window_s=60),
    "quote_intensity_10s": Intensity(of="quote", window_s=10),
    "since_trade_s": SinceTrade(),
    "rsi_14m": Rsi(window_m=14),
    "macd_hist_12_26_9m": MacdHist(fast_m=12, slow_m=26, signal_m=9),
    "bollinger_z_20m": BollingerZ(window_m=20),
    "atr_14m": Atr(window_m=14),
    "session_frac": SessionFrac(),
    "news_sentiment_ewm_120s": NewsSentimentEwm(half_life_s=120),
    "news_intensity_600s": Intensity(of="news", window_s=600),
}


def fingerprint(features: Mapping[str, Indicator]) -> str:
    """Twelve hex digits that change with any name, parameter or kernel version."""
    told = "\n".join([f"v{KERNELS_VERSION}", *(f"{name}={indicator!r}" for name, indicator in features.items())])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


FEATURES_ID: Final = fingerprint(FEATURES)
FEATURE_NAMES: Final = tuple(FEATURES)


@dataclass(slots=True)
class FeatureEngine:
    """The states of a catalogue of indicators, for as many symbols as have come."""

    features: Mapping[str, Indicator]
    capacity: int = 16
    states: list[IndicatorState] = field(init=False)
    _fresh_rows: list[tuple[NDArray[Any], ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.states = [indicator.start(self.capacity) for indicator in self.features.values()]
        self._fresh_rows = [indicator.start(1).arrays for indicator in self.features.values()]

    def grow(self, symbols: int) -> None:
        """Make room for `symbols` symbols; what is known of the others stays."""
        if symbols <= self.capacity:
            return
        self.capacity = max(symbols, 2 * self.capacity)
        grown = [indicator.start(self.capacity) for indicator in self.features.values()]
        for new, old in zip(grown, self.states, strict=True):
            _copy(old.arrays, new.arrays)
        self.states = grown

    def fold(self, batch: EventBatch, fresh: Flags) -> Matrix:
        """Features after every row, float64 [features, n]: one contiguous line a feature; NaN until warm.

        `fresh`: rows at which their symbol enters a new session; its states forget everything before them.
        """
        lines = np.empty((len(self.features), len(batch)))
        for start, stop in _stretches(batch.symbol, fresh):
            self._forget(batch.symbol[start:stop][fresh[start:stop]])
            part = batch if (start, stop) == (0, len(batch)) else batch.rows(start, stop)
            for state, out in zip(self.states, lines, strict=True):
                state.fold(part, out[start:stop])
        return lines

    def _forget(self, symbols: Rows) -> None:
        if len(symbols) == 0:
            return
        for state, fresh_row in zip(self.states, self._fresh_rows, strict=True):
            for array, row in zip(state.arrays, fresh_row, strict=True):
                array[symbols] = row[0]

    def arrays(self, symbols: int) -> list[NDArray[Any]]:
        """Everything remembered of the first `symbols` symbols, for a snapshot."""
        return [array[:symbols] for state in self.states for array in state.arrays]

    def restore(self, arrays: list[NDArray[Any]], symbols: int) -> None:
        """Take over what `arrays` gave."""
        self.grow(symbols)
        _copy(tuple(arrays), tuple(array for state in self.states for array in state.arrays))


def _copy(source: tuple[NDArray[Any], ...], target: tuple[NDArray[Any], ...]) -> None:
    for old, new in zip(source, target, strict=True):
        new[: len(old)] = old


def _stretches(symbol: Rows, fresh: Flags) -> list[tuple[int, int]]:
    """Row ranges in which no symbol turns fresh after rows of its own: forgetting first is then forgetting in time."""
    cuts: list[tuple[int, int]] = []
    for begin in range(0, len(symbol), STRETCH):
        start, stop = begin, min(begin + STRETCH, len(symbol))
        for row in begin + np.flatnonzero(fresh[begin:stop]):
            if np.any(symbol[start:row] == symbol[row]):
                cuts.append((start, int(row)))
                start = int(row)
        cuts.append((start, stop))
    return cuts

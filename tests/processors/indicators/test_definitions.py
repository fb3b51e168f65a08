"""Every kind of indicator against its oracle on short logs in whole seconds, so that edges of tiles and events coincide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.features import FEATURES
from processors.indicator import Indicator
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
from tests.builders import Tick, batch_of, fold, news, odd_print, quote, trade
from tests.processors.indicators.oracles import ORACLES

SHORT: tuple[Indicator, ...] = (
    ReturnEwm(half_life_s=8), Volatility(window_s=60), VolatilityEwm(half_life_s=8), Vwap(window_s=60),
    HighDist(window_s=60), LowDist(window_s=60), FlowImbalance(window_s=60), TradeSignEwm(half_life_s=8),
    OrderFlowImbalance(window_s=60), BookImbalance(), BookImbalanceEwm(half_life_s=8), Spread(), SpreadEwm(half_life_s=8),
    MicropriceDev(), Intensity(of="trade", window_s=60), Intensity(of="quote", window_s=60),
    Intensity(of="news", window_s=60), SinceTrade(), SessionFrac(), NewsSentimentEwm(half_life_s=8), Rsi(window_m=2),
    MacdHist(fast_m=2, slow_m=3, signal_m=2), BollingerZ(window_m=3), Atr(window_m=2),
)  # fmt: skip
"""Tiles of one second; oscillators of few bars."""

prices = st.integers(1, 6).map(float)
sizes = st.integers(0, 4).map(float)
gaps_s = st.sampled_from([0, 0, 1, 1, 2, 5, 12, 13, 47, 48, 59, 60, 61, 119, 400])


@st.composite
def ticks(draw: st.DrawFn, slower: int = 1) -> list[Tick]:
    """Up to forty events of one symbol, some at the same second."""
    told: list[Tick] = []
    at_s = draw(st.integers(0, 200))
    for _ in range(draw(st.integers(1, 40))):
        at_s += draw(gaps_s) * slower
        told.append(draw(st.sampled_from([_trade, _trade, _quote, _quote, _news, _print]))(draw, at_s))
    return told


def _trade(draw: st.DrawFn, at_s: int) -> Tick:
    return trade(draw(prices), at_s=at_s, size=1.0 + draw(sizes), side=draw(st.integers(-1, 1)))


def _quote(draw: st.DrawFn, at_s: int) -> Tick:
    bid = draw(prices)
    return quote(bid, bid + draw(sizes), at_s=at_s, bid_size=draw(sizes), ask_size=draw(sizes))


def _news(draw: st.DrawFn, at_s: int) -> Tick:
    return news(draw(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])), at_s=at_s)


def _print(draw: st.DrawFn, at_s: int) -> Tick:
    return odd_print(draw(prices), at_s=at_s)


def test_every_kind_of_feature_is_tried() -> None:
    assert (
        {type(indicator) for indicator in FEATURES.values()} == {type(indicator) for indicator in SHORT} == set(ORACLES)
    )


@pytest.mark.parametrize("indicator", SHORT, ids=repr)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_equals_its_definition_whatever_happens_and_when(indicator: Indicator, data: st.DataObject) -> None:
    by_minutes = isinstance(indicator, Rsi | MacdHist | BollingerZ | Atr)
    told = data.draw(ticks(slower=3 if by_minutes else 1))
    oracle = ORACLES[type(indicator)]
    expected = oracle.expected(indicator, batch_of(told))
    np.testing.assert_allclose(fold(indicator, *told), expected, rtol=1e-9, atol=1e-9 * oracle.scale, equal_nan=True)

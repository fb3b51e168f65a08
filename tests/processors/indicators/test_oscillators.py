"""RSI, MACD, Bollinger and ATR against TA-Lib, on the same one-minute bars."""

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import talib

from processors.batch import NS, TRADE, Column, Integers
from processors.indicator import Indicator
from processors.indicators.atr import Atr
from processors.indicators.bollinger import BollingerZ
from processors.indicators.macd import MacdHist
from processors.indicators.minute_bars import bars_to_forget
from processors.indicators.rsi import Rsi
from schemas.errors import IndicatorError
from tests.builders import fold, news, odd_print, quote, trade
from tests.processors.indicators.logs import Log

SHARED = Path(os.environ.get("TICKWIRE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
SPY = SHARED / "ticks" / "lean_usa_tick_spy_20131007_trade.csv.gz"
MINUTE_NS = 60 * NS
OSCILLATORS: tuple[Indicator, ...] = (
    Rsi(window_m=14), MacdHist(fast_m=12, slow_m=26, signal_m=9), BollingerZ(window_m=20), Atr(window_m=14),
)  # fmt: skip


@dataclass(frozen=True)
class Bars:
    high: Column
    low: Column
    close: Column


def talibs(indicator: Indicator, bars: Bars) -> Column:
    """What TA-Lib says after each bar, with all bars of the session in its memory."""
    match indicator:
        case Rsi(window_m):
            return np.asarray(talib.RSI(bars.close, window_m))
        case MacdHist(fast_m, slow_m, signal_m):
            return np.asarray(talib.MACD(bars.close, fast_m, slow_m, signal_m)[2] / bars.close)
        case BollingerZ(window_m):
            moved = bars.close - bars.close[0]  # the same score; TA-Lib's E[x²] - E[x]² keeps more digits
            upper, middle, _ = talib.BBANDS(moved, window_m, 2.0, 2.0)
            return np.asarray((moved - middle) / ((upper - middle) / 2.0))
        case Atr(window_m):
            return np.asarray(talib.ATR(bars.high, bars.low, bars.close, window_m) / bars.close)
    raise AssertionError(indicator)


def log_of(at_ns: Integers, price: Column) -> Log:
    n, nothing = len(price), np.full(len(price), np.nan)
    return Log(
        kind=np.full(n, TRADE, np.int8), symbol=np.zeros(n, np.int32), now=at_ns, price=price, size=np.ones(n),
        side=np.zeros(n, np.int8), bid=nothing, bid_size=nothing, ask=nothing, ask_size=nothing, sentiment=nothing,
        fresh=np.zeros(n, np.bool_),
    )  # fmt: skip


def after_each_bar(indicator: Indicator, at_ns: Integers, price: Column) -> tuple[Bars, Column]:
    """The bars, each of one minute in which something was traded, and the indicator at the first trade after each."""
    begins = np.flatnonzero(np.diff(at_ns // MINUTE_NS, prepend=-1))
    ends = np.append(begins[1:], len(price))
    bars = Bars(np.maximum.reduceat(price, begins), np.minimum.reduceat(price, begins), price[ends - 1])
    out = np.empty(len(price))
    indicator.start(1).fold(log_of(at_ns, price).batch(), out)
    return Bars(bars.high[:-1], bars.low[:-1], bars.close[:-1]), out[begins[1:]]


def assert_equal_to_1e_9(indicator: Indicator, found: Column, bars: Bars) -> None:
    near_0 = 1e-9 if isinstance(indicator, BollingerZ) else 1e-13
    np.testing.assert_allclose(found, talibs(indicator, bars), rtol=1e-9, atol=near_0, equal_nan=True)


def walk(seed: int, minutes: int) -> tuple[Integers, Column]:
    """Some trades in most minutes."""
    rng = np.random.default_rng(seed)
    at_ns = np.sort(rng.integers(0, minutes * MINUTE_NS, 3 * minutes))
    return at_ns, 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, len(at_ns))))


@pytest.mark.parametrize("indicator", OSCILLATORS, ids=repr)
@pytest.mark.parametrize("minutes", [40, 405, 1_400])
def test_it_equals_ta_lib_at_every_bar_of_a_session(indicator: Indicator, minutes: int) -> None:
    bars, found = after_each_bar(indicator, *walk(seed=minutes, minutes=minutes))
    assert_equal_to_1e_9(indicator, found, bars)
    assert np.isfinite(found[-1])


@pytest.mark.shared_data
@pytest.mark.skipif(not SPY.exists(), reason=f"needs {SPY.name} beside the checkout")
@pytest.mark.parametrize("indicator", OSCILLATORS, ids=repr)
def test_it_equals_ta_lib_on_a_real_day_of_spy(indicator: Indicator) -> None:
    with gzip.open(SPY, "rt") as lines:
        ticks = np.loadtxt(lines, delimiter=",", usecols=(0, 1))
    bars, found = after_each_bar(indicator, ticks[:, 0].astype(np.int64) * 1_000_000, ticks[:, 1] / 10_000.0)
    assert_equal_to_1e_9(indicator, found, bars)
    assert len(found) > 500


def test_a_bar_is_of_the_mid_where_there_are_quotes() -> None:
    rows = [quote(9.0 + k, 11.0 + k, at_s=60 * k) for k in range(3)]
    rows[1:1] = [trade(11.0, at_s=1)]
    quoted = fold(Atr(window_m=1), *rows)
    assert quoted[-1] == 1.0 / 11.0  # mids 10 and 11; the trade at 11 makes no range in the first minute


def test_a_bar_is_of_the_last_trade_where_there_are_no_quotes() -> None:
    traded = fold(
        Atr(window_m=1), trade(10.0, at_s=0), trade(11.0, at_s=60), trade(14.0, at_s=61), trade(1.0, at_s=120)
    )
    assert traded[-1] == 4.0 / 14.0


def test_a_minute_without_trade_or_quote_makes_no_bar() -> None:
    told = [trade(10.0, at_s=0), trade(11.0, at_s=60), trade(12.0, at_s=600)]
    between = [news(0.5, at_s=200), odd_print(99.0, at_s=300)]
    assert (
        fold(BollingerZ(window_m=2), *told)[-1] == fold(BollingerZ(window_m=2), *told[:2], *between, told[2])[-1] == 1.0
    )


def test_any_row_of_a_later_minute_closes_the_bar() -> None:
    rows = fold(BollingerZ(window_m=2), trade(10.0, at_s=0), trade(11.0, at_s=119), news(0.0, at_s=120))
    assert list(np.isnan(rows)) == [True, True, False]


def test_rsi_is_50_where_nothing_ever_moved_and_ta_lib_says_0() -> None:
    rows = fold(Rsi(window_m=2), *[trade(10.0, at_s=60 * k) for k in range(5)])
    assert rows[-1] == 50.0
    assert talib.RSI(np.full(4, 10.0), 2)[-1] == 0.0


def test_bollinger_is_0_where_all_closes_are_equal() -> None:
    assert fold(BollingerZ(window_m=3), *[trade(0.1, at_s=60 * k) for k in range(5)])[-1] == 0.0


@pytest.mark.parametrize("wrong", [MacdHist(12, 12, 9), MacdHist(0, 26, 9), MacdHist(12, 26, 0)], ids=repr)
def test_a_macd_that_cannot_be_is_refused(wrong: MacdHist) -> None:
    with pytest.raises(IndicatorError, match="MACD needs"):
        wrong.start(1)


@pytest.mark.parametrize("wrong", [Rsi(0), Atr(-1), BollingerZ(1)], ids=repr)
def test_an_oscillator_over_no_bars_is_refused(wrong: Indicator) -> None:
    with pytest.raises(IndicatorError, match="window_m"):
        wrong.start(1)


def test_quotes_alone_are_enough() -> None:
    rows = fold(Rsi(window_m=2), *[quote(1.0 + k, 1.5 + k, at_s=60 * k) for k in range(5)])
    assert rows[-1] == 100.0


@pytest.mark.parametrize("span", [2, 3, 27, 35, 199])
def test_the_seed_of_a_mean_is_forgotten_within_the_bars_that_are_kept(span: int) -> None:
    assert ((span - 1) / (span + 1)) ** (bars_to_forget(span) - span) <= 1e-12

import numpy as np
import pytest

from processors.indicators.flow import FlowImbalance, TradeSignEwm
from processors.indicators.intensity import Intensity
from processors.indicators.order_flow import OrderFlowImbalance
from tests.builders import Tick, fold, news, odd_print, quote, trade


def test_flow_imbalance_is_the_signed_share_of_volume() -> None:
    told = [trade(1.0, at_s=0), trade(1.0, at_s=58, size=3, side=1), trade(1.0, at_s=60, size=1, side=-1)]
    assert fold(FlowImbalance(window_s=60), *told)[-1] == (3 - 1) / 4


def test_trade_sign_counts_trades_whatever_their_size() -> None:
    told = [trade(1.0, at_s=0), trade(1.0, at_s=60, size=9, side=1), trade(1.0, at_s=68, size=1, side=-1)]
    assert fold(TradeSignEwm(half_life_s=8), *told)[-1] == pytest.approx((0.5 - 1.0) / 1.5)


@pytest.mark.parametrize("indicator", [FlowImbalance(window_s=60), TradeSignEwm(half_life_s=8)], ids=repr)
def test_where_nothing_was_traded_there_is_no_share(indicator: FlowImbalance | TradeSignEwm) -> None:
    assert np.isnan(fold(indicator, trade(1.0, at_s=0, side=1), quote(1.0, 2.0, at_s=600))).all()


def test_intensity_is_events_of_its_kind_per_second() -> None:
    told = [trade(1.0, at_s=0), *(trade(1.0, at_s=60) for _ in range(6)), odd_print(9.0, at_s=60.5), news(0.0, at_s=61)]
    rows = fold(Intensity(of="trade", window_s=60), *told)
    assert list(rows[-2:]) == [6 / 59.5, 6 / 60.0 * (60 / 59)]


def test_intensity_is_0_where_nothing_happened() -> None:
    assert fold(Intensity(of="news", window_s=60), trade(1.0, at_s=0), trade(1.0, at_s=60))[-1] == 0.0


def ofi(*after: Tick) -> float:
    """Of these quotes, after one of 10 at 4.0 bid and 20 at 6.0 offered a minute ago."""
    return float(fold(OrderFlowImbalance(window_s=60), quote(4.0, 6.0, at_s=0, bid_size=10, ask_size=20), *after)[-1])


def test_size_added_at_the_bid_flows_in() -> None:
    assert ofi(quote(4.0, 6.0, at_s=60, bid_size=13, ask_size=20)) == (13 - 10) / ((13 + 20) / 2)


def test_a_higher_bid_adds_all_its_size() -> None:
    assert ofi(quote(5.0, 6.0, at_s=60, bid_size=7, ask_size=20)) == 7 / ((7 + 20) / 2)


def test_a_lower_bid_takes_all_of_the_size_before() -> None:
    assert ofi(quote(3.0, 6.0, at_s=60, bid_size=7, ask_size=20)) == -10 / ((7 + 20) / 2)


def test_a_higher_ask_was_bought_through_and_a_lower_one_offers_more() -> None:
    assert ofi(quote(4.0, 7.0, at_s=60, bid_size=10, ask_size=5)) == 20 / ((10 + 5) / 2)
    assert ofi(quote(4.0, 5.0, at_s=60, bid_size=10, ask_size=5)) == -5 / ((10 + 5) / 2)


def test_the_flow_of_several_quotes_is_in_units_of_their_mean_depth() -> None:
    told = [quote(4.0, 6.0, at_s=60, bid_size=14, ask_size=20), quote(4.0, 6.0, at_s=61, bid_size=20, ask_size=20)]
    assert ofi(*told) == pytest.approx((4 + 6) / ((17 + 20) / 2))


def test_no_change_of_quotes_is_no_flow_and_no_sizes_no_number() -> None:
    assert ofi(trade(5.0, at_s=60)) == 0.0
    rows = fold(OrderFlowImbalance(window_s=60), *(quote(4.0, 6.0, at_s=at, bid_size=0, ask_size=0) for at in (0, 60)))
    assert np.isnan(rows).all()


def test_without_quotes_it_is_not_a_number() -> None:
    assert np.isnan(fold(OrderFlowImbalance(window_s=60), trade(1.0, at_s=0), trade(1.0, at_s=600))).all()

from dataclasses import replace

import numpy as np

from processors.batch import NS
from processors.indicators.clocks import SessionFrac, SinceTrade
from tests.builders import batch_of, fold, news, odd_print, quote, trade


def test_it_counts_seconds_from_the_last_trade_and_not_from_a_print() -> None:
    told = [
        quote(1.0, 2.0, at_s=0),
        trade(1.0, at_s=1),
        odd_print(5.0, at_s=2),
        news(0.0, at_s=3.5),
        trade(1.0, at_s=4),
    ]
    np.testing.assert_array_equal(fold(SinceTrade(), *told), [np.nan, 0.0, 1.0, 2.5, 0.0])


def test_the_session_runs_from_0_to_1_and_stays_there() -> None:
    batch = batch_of([quote(1.0, 2.0, at_s=at) for at in (50, 100, 125, 200, 300)])
    batch = replace(batch, session_open=np.full(5, 100 * NS), session_close=np.full(5, 200 * NS))
    out = np.empty(5)
    SessionFrac().start(1).fold(batch, out)
    assert list(out) == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_a_session_without_length_has_no_share() -> None:
    batch = batch_of([quote(1.0, 2.0, at_s=1)])
    out = np.empty(1)
    SessionFrac().start(1).fold(replace(batch, session_close=batch.session_open), out)
    assert np.isnan(out[0])

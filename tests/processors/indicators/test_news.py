import numpy as np
import pytest

from processors.indicators.news import NewsSentimentEwm
from tests.builders import fold, news, trade


def test_sentiment_is_0_when_warm_and_nothing_was_told() -> None:
    rows = fold(NewsSentimentEwm(half_life_s=8), trade(1.0, at_s=0), trade(1.0, at_s=47), trade(1.0, at_s=48))
    np.testing.assert_array_equal(rows, [np.nan, np.nan, 0.0])


def test_one_item_says_half_of_what_it_says() -> None:
    assert fold(NewsSentimentEwm(half_life_s=8), trade(1.0, at_s=0), news(-0.8, at_s=60))[-1] == -0.4


def test_old_news_fades_toward_0() -> None:
    rows = fold(NewsSentimentEwm(half_life_s=8), trade(1.0, at_s=0), news(1.0, at_s=60), news(0.0, at_s=68))
    assert rows[-1] == pytest.approx(0.5 / (1.0 + 0.5 + 1.0))

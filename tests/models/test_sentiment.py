"""The lexicon hears financial news as its reader does, and better than plain VADER."""

import csv
import os
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vader import SentimentIntensityAnalyzer

from models.sentiment import LexiconSentiment

SHARED = Path(os.environ.get("TICKWIRE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PHRASEBANK = SHARED / "news" / "fpb_shared_half.csv"
LABELS = ("negative", "neutral", "positive")
LEXICON = LexiconSentiment()


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Acme profit rose 20 %", "Acme profit fell 20 %"),
        ("Acme costs fell", "Acme costs rose"),
        ("Acme narrows its loss", "Acme widens its loss"),
        ("Acme beats estimates", "Acme misses estimates"),
        ("Broker upgrades Acme", "Broker downgrades Acme"),
        ("Acme raises guidance", "Acme cuts guidance"),
        ("Acme wins regulatory approval", "Acme faces lawsuit over data breach"),
        ("Acme shares soared", "Acme shares plunged"),
        ("Unemployment declined", "Unemployment increased"),
    ],
)
def test_good_news_scores_above_zero_and_its_opposite_below(better: str, worse: str) -> None:
    assert LEXICON.score(better) > 0.05
    assert LEXICON.score(worse) < -0.05


@pytest.mark.parametrize("text", ["", " ", "\n\t", ". ; :", "1,234.5", "🏦", "Acme shares outstanding"])
def test_a_text_that_says_nothing_scores_exactly_zero(text: str) -> None:
    assert LEXICON.score(text) == 0.0


@given(st.text(max_size=300) | st.text(alphabet=string.ascii_letters + " .$!'", max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_scores_within_bounds_and_always_the_same(text: str) -> None:
    score = LEXICON.score(text)
    assert -1.0 <= score <= 1.0
    assert LexiconSentiment().score(text) == score


def test_a_very_long_text_is_read_in_bounded_time_and_stays_finite() -> None:
    assert 0.9 < LEXICON.score("Acme beats estimates and raises guidance. " * 10_000) <= 1.0


def _accuracy_and_macro_f1(score: Callable[[str], float], rows: list[tuple[str, str]]) -> tuple[float, float]:
    counts: Counter[tuple[str, str]] = Counter()
    for label, text in rows:
        said = score(text)
        counts[label, LABELS[1 + (said >= 0.05) - (said <= -0.05)]] += 1
    right = {label: counts[label, label] for label in LABELS}
    f1 = [2 * right[label] / sum(counts[label, other] + counts[other, label] for other in LABELS) for label in LABELS]
    return sum(right.values()) / len(rows), sum(f1) / len(f1)


@pytest.mark.shared_data
@pytest.mark.skipif(not PHRASEBANK.exists(), reason="the Financial PhraseBank is not beside this checkout")
def test_it_reads_the_financial_phrasebank_far_better_than_plain_vader() -> None:
    with PHRASEBANK.open(encoding="utf-8", newline="") as file:
        rows = [(row["Sentiment"], row["News Headline"]) for row in csv.DictReader(file)]
    vader = SentimentIntensityAnalyzer()
    plain = _accuracy_and_macro_f1(lambda text: vader.polarity_scores(text)["compound"], rows)
    ours = _accuracy_and_macro_f1(LEXICON.score, rows)
    assert len(rows) == 2446
    assert ours[0] > plain[0] + 0.10
    assert ours[1] > plain[1] + 0.10
    assert ours[0] > 0.68  # three in five are neutral: better than saying nothing

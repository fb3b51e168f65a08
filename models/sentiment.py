"""How good or bad a text is for the company it is about: VADER, extended by the words of financial news."""

import math
import re
from typing import Final, Protocol

from vader import SentimentIntensityAnalyzer

from models.finance_lexicon import BAD_WHEN_UP, GOOD_WHEN_UP, MOVES, PHRASES, SILENT, UP, WORDS

ALPHA: Final = 15.0
"""VADER's: a sum of valences `v` becomes `v / sqrt(v² + ALPHA)`."""
MOVE: Final = 2.0
"""Valence of a number that is known to be good or bad news and moved."""
BARE_MOVE: Final = 0.8
"""Valence of a move whose subject is not known."""
LOOK_BACK: Final = 12
LOOK_AHEAD: Final = 5
MAX_CHARS: Final = 4_000
"""What is read of a text; VADER saturates on long ones, and a headline is shorter."""
WORD: Final = re.compile(r"[A-Za-z][A-Za-z'\-]*")


class Sentiment(Protocol):
    """Says how good or bad a text is."""

    def score(self, text: str) -> float:
        """In [-1, 1]; 0.0 for a text that says nothing."""


class LexiconSentiment:
    """VADER's rules on its lexicon and ours, plus what moved which way.

    Deterministic, no state between calls. English only: other languages score about 0.

    >>> LexiconSentiment().score("Acme raises guidance after record quarter") > 0
    True
    >>> LexiconSentiment().score("Acme profit fell") < 0 < LexiconSentiment().score("Acme costs fell")
    True
    """

    def __init__(self) -> None:
        silent = dict.fromkeys(SILENT, 0.0)
        self._vader = SentimentIntensityAnalyzer(extra_lexicon={**silent, **WORDS}, multiword=PHRASES, alpha=ALPHA)

    def score(self, text: str) -> float:
        """In [-1, 1]; 0.0 for an empty text."""
        text = text[:MAX_CHARS]
        if not text.strip():
            return 0.0
        compound = self._vader.polarity_scores(text)["compound"]
        total = _valence(compound) + _moves([word.lower() for word in WORD.findall(text)])
        return max(-1.0, min(1.0, total / math.sqrt(total * total + ALPHA)))


def _valence(compound: float) -> float:
    """The sum of valences that VADER made `compound` of."""
    bounded = max(-0.999, min(0.999, compound))
    return bounded * math.sqrt(ALPHA / (1.0 - bounded * bounded))


def _moves(words: list[str]) -> float:
    """Sum over the words of direction: good or bad by the nearest subject, weak where none is."""
    return sum(
        (1.0 if word in UP else -1.0) * _weight(words, at)
        for at, word in enumerate(words)
        if word in MOVES and not (at and words[at - 1] in MOVES)  # "edged up", "fell lower": one move, said twice
    )


def _weight(words: list[str], at: int) -> float:
    """Valence of an upward move at `at`: positive where more is good, negative where more is bad."""
    for steps in range(1, LOOK_BACK + 1):
        for place in (at - steps, at + steps if steps <= LOOK_AHEAD else -1):
            if not 0 <= place < len(words):
                continue
            if words[place] in GOOD_WHEN_UP:
                return MOVE
            if words[place] in BAD_WHEN_UP:
                return -MOVE
    return BARE_MOVE

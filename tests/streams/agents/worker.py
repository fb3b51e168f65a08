"""The news agent as a program: `python -m tests.streams.agents.worker HOST:PORT DIRECTORY`."""

import sys
from pathlib import Path

from models.sentiment import LexiconSentiment
from streams.agents.news import build_app
from streams.agents.worker import run
from tests.streams.writers import CountingMeter, WallClock

POISON = "no lexicon survives this"


class Fragile(LexiconSentiment):
    """Fails as a bug would."""

    def score(self, text: str) -> float:
        if text == POISON:
            raise ZeroDivisionError(text)
        return super().score(text)


if __name__ == "__main__":
    run(build_app([sys.argv[1]], Path(sys.argv[2]), Fragile(), WallClock(), CountingMeter(), partitions=4))

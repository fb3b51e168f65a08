"""The page says what the intervals bear and no more, baselines first; the pictures are drawings."""

from dataclasses import replace
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from models.bootstrap import Blocks, Interval
from models.candidate import Contest
from models.evaluation import BASE_RATE, Evaluation, evaluate
from models.leaks import Alarm
from models.report import Part, Report, claims, table, verdict
from tests.models.datasets import NS, dataset

MARKET = dataset(2_000, hint=0.5)
SVG = "{http://www.w3.org/2000/svg}"


def part(name: str = "All symbols", **scores: np.ndarray) -> Part:
    chance = np.full(len(MARKET), 0.5)
    held = Contest(
        MARKET, 0, {"always flat": chance, BASE_RATE: chance + 0.001, **scores}, frozenset({"always flat", BASE_RATE})
    )
    return Part(name, held, evaluate(held, Blocks.of(MARKET.ts, block_ns=120 * NS, draws=200)))


KNOWING = 1 / (1 + np.exp(-MARKET.features[:, 0]))
GUESSING = 0.5 + 0.2 * np.sin(np.arange(len(MARKET)) * 2.39)


def test_what_is_claimed_is_what_the_intervals_bear() -> None:
    told = claims(part(knowing=KNOWING, guessing=GUESSING))
    assert told[0] == "Better than the base rate, with confidence: knowing."
    assert told[1].endswith("with confidence: knowing.")
    assert "guessing" not in " ".join(told[:3])


def test_where_nothing_is_better_the_page_says_none() -> None:
    told = claims(part(guessing=GUESSING))
    assert [sentence.rsplit(": ", 1)[1] for sentence in told[:2]] == ["none.", "none."]
    assert told[2] == "The simple rule earned its costs, with confidence, with: none."


def test_an_interval_that_touches_zero_is_no_claim() -> None:
    found = part(knowing=KNOWING)
    for low, sentence in ((1e-9, "knowing."), (0.0, "none."), (np.nan, "none.")):
        judged = [replace(each, corrected=Interval(0.1, low, 0.2)) for each in found.evaluations[2:]]
        told = claims(Part("x", found.held, [*found.evaluations[:2], *judged]))
        assert told[0].endswith(f": {sentence}")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "better than base rate"), (-0.1, 0.3, "not told apart"), (-0.3, -0.1, "worse than base rate")],
)
def test_the_verdict_is_of_the_corrected_interval(low: float, high: float, said: str) -> None:
    each: Evaluation = part(knowing=KNOWING).evaluations[2]
    assert verdict(replace(each, corrected=Interval(0.0, low, high))) == said


def test_the_table_has_baselines_first_and_an_interval_or_a_dash_in_every_cell() -> None:
    lines = table(part(knowing=KNOWING).evaluations)
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert [row[0].strip() for row in cells[2:]] == ["always flat", BASE_RATE, "knowing"]
    assert len({len(row) for row in cells}) == 1
    for row in cells[2:]:
        for at, cell in enumerate(row[1:-1], 1):
            assert at == 7 or "[" in cell or cell == "—"
    assert cells[3][-1].strip() == "reference"


def test_the_page_holds_the_command_every_part_its_pictures_and_its_alarms() -> None:
    alarm = Alarm("feature x", "hit rate", 0.99, 0.9)
    report = Report("tickwire evaluate x", ["One fact."], [part(knowing=KNOWING), part("S0", knowing=KNOWING)], [alarm])
    page = report.markdown("models")
    assert "tickwire evaluate x" in page
    assert "- One fact." in page
    assert "## S0 alone" in page
    assert "feature x: hit rate 0.990, beyond 0.9" in page
    assert page.index("Too good to be true") < page.index("What may be said")
    for name in report.plots("models"):
        assert f"]({name})" in page


def test_pictures_are_well_formed_and_draw_what_was_measured() -> None:
    found = part(knowing=KNOWING)
    plots = Report("c", [], [found]).plots("m")
    trees = {name: Xml.fromstring(text) for name, text in plots.items()}
    assert list(trees) == ["m-scoreboard.svg", "m-calibration.svg", "m-profit.svg"]
    texts = [each.text for each in trees["m-calibration.svg"].iter(f"{SVG}text")]
    assert "● knowing" in texts
    bins = sum(len(each.reliability.rows) for each in found.evaluations)
    assert len(list(trees["m-calibration.svg"].iter(f"{SVG}circle"))) == bins
    assert len(list(trees["m-scoreboard.svg"].iter(f"{SVG}circle"))) == len(found.evaluations) - 1
    assert not any("nan" in text for text in plots.values())

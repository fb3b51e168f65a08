"""An evaluation as a page to read: tables with every interval, plots, and only such claims as the intervals bear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.bootstrap import Interval
from models.candidate import Contest
from models.evaluation import BASE_RATE, Evaluation, strongest_baseline
from models.leaks import Alarm
from models.plots import Line, intervals, plot
from models.trading import EDGE

MISSING: Final = "—"
HEADER: Final = (
    "model", "log loss", "gain over base rate (mnat)", "Brier", "calibration error", "hit rate %", "IC", "trades",
    "bp a trade before costs", "bp a trade after costs", "verdict",
)  # fmt: skip
CAPTION: Final = (
    "Baselines first. Log loss, Brier, calibration and hit rate are of the rows whose price moved, which nobody knows "
    "beforehand: a high hit rate where prices rarely move is no high chance of a move. Gain: log loss of the base rate less "
    "the model's, in thousandths of a nat a row; above 0 is better. IC: Spearman's correlation of score and return. In brackets "
    "the 95% interval, by a bootstrap over blocks of time; — where it cannot be told (no trades, a constant score, or all in "
    "too few blocks). Verdict: on the gain, at a level that allows for all comparisons in the table."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One group of rows: all of them, or one symbol's."""

    name: str
    held: Contest
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, slots=True)
class Report:
    """`facts`: what was trained and tested on, a sentence each. The first part is of all rows."""

    command: str
    facts: Sequence[str]
    parts: Sequence[Part]
    alarms: Sequence[Alarm] = field(default_factory=tuple)

    def markdown(self, stem: str) -> str:
        """The page; its pictures are `plots(stem)` beside it."""
        whole, *single = self.parts
        pictures = [f"![{words}]({name})" for name, words in zip(self.plots(stem), PICTURES, strict=True)]
        lines = [
            "# What the models are worth", "", "Made by", "", "```", self.command, "```", "", *_paragraphs(self.facts),
            *_alarm_lines(self.alarms), "## What may be said", "", *(f"- {claim}" for claim in claims(whole)), "",
            "## Scoreboard", "", CAPTION, "", *table(whole.evaluations), "", *pictures, "",
        ]  # fmt: skip
        for part in single:
            lines += [f"## {part.name} alone", "", *(f"- {claim}" for claim in claims(part)), ""]
            lines += [*table(part.evaluations), ""]
        return "\n".join(lines)

    def plots(self, stem: str) -> Mapping[str, str]:
        """File name to SVG: scoreboard, calibration, profit."""
        whole = self.parts[0]
        shaded = list(enumerate(whole.evaluations))
        gains = [
            (e.name, shade, 1e3 * e.gain.value, 1e3 * e.gain.low, 1e3 * e.gain.high)
            for shade, e in shaded if e.name != BASE_RATE
        ]  # fmt: skip
        return {
            f"{stem}-scoreboard.svg": intervals(PICTURES[0], "mnat a row, 95% interval; right of 0 is better", gains),
            f"{stem}-calibration.svg": plot(
                PICTURES[1], "mean score of the bin", "share that went up",
                [Line(e.name, e.reliability.score, e.reliability.ups, shade, points=True) for shade, e in shaded],
                diagonal=True,
            ),
            f"{stem}-profit.svg": _profit(whole),
        }  # fmt: skip


PICTURES: Final = (
    "Log-loss gain over the base rate",
    "Calibration: what was said and what came true",
    f"Sum of all trades after costs (taken where the score is {EDGE:g} or more from 0.5)",
)


def table(evaluations: Sequence[Evaluation]) -> list[str]:
    """Markdown lines, a row a candidate in the given order."""
    rows = [HEADER, tuple("---" for _ in HEADER), *map(_row, evaluations)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def claims(part: Part) -> list[str]:
    """Sentences that the intervals support, and what they do not."""
    others = [each for each in part.evaluations if each.name != BASE_RATE]
    strongest = strongest_baseline(part.held)
    models = [each for each in others if each.name not in part.held.baselines]
    told = [
        _told("Better than the base rate, with confidence", [e.name for e in others if e.beats_base_rate]),
        _told(
            f"Better than the strongest baseline ({strongest}), with confidence",
            [e.name for e in models if e.beats_baselines],
        ),
        _told("The simple rule earned its costs, with confidence, with", [e.name for e in others if e.profitable]),
    ]
    losing = [e.name for e in others if e.net_bp.high < 0.0]
    if losing:
        told.append(_told("It lost money after costs, with confidence, with", losing))
    return told


def verdict(evaluation: Evaluation) -> str:
    """In a few words, on the gain over the base rate at the corrected level."""
    if evaluation.name == BASE_RATE:
        return "reference"
    if evaluation.beats_base_rate:
        return "better than base rate"
    return "worse than base rate" if evaluation.corrected.high < 0.0 else "not told apart"


def _row(each: Evaluation) -> tuple[str, ...]:
    return (
        each.name, _shown(each.log_loss, 4), _shown(each.gain, 1, 1e3), _shown(each.brier, 4),
        _shown(each.calibration_error, 3), _shown(each.hit_rate, 1, 100), _shown(each.information, 3), f"{each.trades:,}",
        _shown(each.gross_bp, 2), _shown(each.net_bp, 2), verdict(each),
    )  # fmt: skip


def _shown(found: Interval, digits: int, factor: float = 1.0) -> str:
    if not np.isfinite(found.value):
        return MISSING
    if not np.isfinite([found.low, found.high]).all():
        return f"{found.value * factor:.{digits}f} [{MISSING}]"
    return f"{found.value * factor:.{digits}f} [{found.low * factor:.{digits}f}, {found.high * factor:.{digits}f}]"


def _told(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names) if names else 'none'}."


def _paragraphs(facts: Sequence[str]) -> list[str]:
    return [line for fact in facts for line in (f"- {fact}",)] + [""]


def _alarm_lines(alarms: Sequence[Alarm]) -> list[str]:
    if not alarms:
        return []
    return ["## Too good to be true", "", "Do not believe this page before these are explained:", "",
            *(f"- {alarm}" for alarm in alarms), ""]  # fmt: skip


def _profit(part: Part) -> str:
    ts = part.held.tested.ts
    hours = (ts - ts[0]) / 3.6e12
    lines = [Line(e.name, hours, np.cumsum(e.net) * 1e4, at) for at, e in enumerate(part.evaluations) if e.trades]
    lines = lines or [Line("no trades", hours, np.zeros(len(hours)))]
    return plot(PICTURES[2], "hours since the first tested prediction", "basis points of one position", lines)

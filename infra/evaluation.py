"""Every model and baseline on recorded days or on a dataset, as a report: what `tickwire evaluate` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from infra.chosen_recordings import Chosen
from infra.composition import ShardMaker, rules, sessions
from infra.settings import Fold, Settings
from models.bootstrap import BLOCK_NS, DRAWS, Blocks
from models.candidate import Contest, contest
from models.dataset import Dataset
from models.entrants import entrants
from models.evaluation import evaluate, of_symbol
from models.leaks import telling_features, too_good
from models.manifest import About, Label, TrainedOn
from models.report import Part, Report
from models.walk_forward import BAR_NS, Split, split_at, walk_forward
from processors.features import FEATURES_ID
from schemas.errors import InputError, TrainingError
from streams.recorded import Recorded, fold_recordings, regular_hours
from streams.recordings.lean_equity import VENUE
from streams.recordings.zones import NEW_YORK, epoch_ns, zone

Told = Callable[[str, int, int], None]
"""(what is being done, how much of it, of how much)"""
NOT_OTHER_DAYS: Final = (
    "An interval says what days like the tested one could have shown; of days of another kind it says nothing. Within the "
    "rule's trades there is no delay, no fee and no impact: a gain before costs is not money."
)


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is to be judged, and how."""

    command: str
    train: date | None = None
    """The first day that is trained on; the dataset's first where left out."""
    test: date | None = None
    """The day that is tested; walk-forward through everything where left out."""
    folds: int = 5
    seed: int = 0
    draws: int = DRAWS
    block_ns: int = BLOCK_NS


def fold(chosen: Chosen, settings: Fold, told: Told) -> Recorded:
    """The recordings through a shard as the product makes it, without a broker; only what regular trading hours hold."""
    calendars = sessions(settings)
    shard = ShardMaker(rules(settings), calendars, None)(0)
    found = fold_recordings(chosen.recordings, shard, lambda done, total: told("folding", done, total))
    within = regular_hours(found.dataset, calendars, VENUE)
    if len(within) == 0:
        raise InputError(f"no prediction of these recordings lies in the regular trading hours of {VENUE}")
    return Recorded(within, found.doors, found.unread)


def report_of_recordings(chosen: Chosen, settings: Settings, questions: Questions, told: Told) -> Report:
    """Fold, then judge."""
    recorded = fold(chosen, settings.fold, told)
    every_s = settings.fold.label_every.total_seconds()
    doors = ", ".join(f"{count:,} {door}" for door, count in recorded.doors.items() if count)
    facts = [
        *chosen.told(),
        f"{sum(recorded.doors.values()):,} records (heartbeats too) through the product's own fold in one process, without a "
        f"broker: {doors}; {recorded.unread:,} rows of the files could not be read.",
        f"A prediction is sampled at most every {every_s:g} s a symbol and judged by the mid of the quotes; only those of "
        "regular trading hours count.",
    ]
    return report_of(recorded.dataset, questions, told, facts)


def report_of(dataset: Dataset, questions: Questions, told: Told, facts: Sequence[str] = ()) -> Report:
    """Fit everything on the past, score what came after, and say what the scores were worth."""
    dataset, splits = _splits(dataset, questions)
    about = About(
        features=tuple(dataset.names), features_id=FEATURES_ID, trained_on=TrainedOn(log_id="evaluation", spans=()),
        label=Label(horizon_s=dataset.horizon_ns / 1e9), created_by="tickwire evaluate",
    )  # fmt: skip
    held = contest(dataset, splits, entrants(about, seed=questions.seed), told)
    numbers = [
        number for number in range(len(dataset.symbols)) if held.tested.moved[held.tested.symbol == number].any()
    ]
    parts: list[Part] = []
    for at, number in enumerate([None, *numbers]):
        told("bootstrapping", at, len(numbers) + 1)
        parts.append(_part(held, number, questions))
    alarms = [*too_good(list(parts[0].evaluations)), *telling_features(held.tested)]
    return Report(questions.command, [*_facts(held, splits, questions), *facts, NOT_OTHER_DAYS], parts, alarms)


def write(report: Report, path: Path) -> list[Path]:
    """The page at `path` and its pictures beside it; everything that was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem
    written = [path]
    path.write_text(report.markdown(stem))
    for name, picture in report.plots(stem).items():
        written.append(path.with_name(name))
        written[-1].write_text(picture)
    return written


def _splits(dataset: Dataset, questions: Questions) -> tuple[Dataset, list[Split]]:
    """The rows that take part, and how they are divided."""
    if questions.train is not None:
        dataset = dataset.taken(dataset.ts >= _midnight(questions.train))
    if questions.test is None:
        return dataset, walk_forward(dataset, questions.folds)
    begin, end = _midnight(questions.test), _midnight(questions.test + timedelta(days=1))
    return dataset, [split_at(dataset, begin, until_ns=end)]


def _midnight(day: date) -> int:
    return epoch_ns(datetime.combine(day, time(), tzinfo=zone(NEW_YORK)))


def _part(held: Contest, number: int | None, questions: Questions) -> Part:
    """One symbol's rows, or all; a symbol with too few blocks of them has no intervals."""
    if number is None:
        return Part("All symbols", held, evaluate(held, _blocks(held, questions)))
    mine = of_symbol(held, number)
    try:
        blocks = _blocks(mine, questions)
    except TrainingError:
        blocks = Blocks.undrawn(mine.tested.ts)
    return Part(mine.tested.symbols[number], mine, evaluate(mine, blocks))


def _blocks(held: Contest, questions: Questions) -> Blocks:
    return Blocks.of(held.tested.ts, block_ns=questions.block_ns, draws=questions.draws, seed=questions.seed)


def _facts(held: Contest, splits: Sequence[Split], questions: Questions) -> list[str]:
    tested, purge_s = held.tested, (held.tested.horizon_ns + BAR_NS) / 1e9
    way = (
        f"tested on {questions.test} after training on everything before it"
        if questions.test
        else f"walk-forward in {len(splits)} tests, each after all of its past (with an embargo of 300 s)"
    )
    if questions.train:
        way += f" from {questions.train} on"
    return [
        f"Question: is the price higher {tested.horizon_ns / 1e9:g} s later? {', '.join(tested.symbols)}; {way}; purged by "
        f"{purge_s:g} s (horizon and one bar).",
        f"{held.trained_rows:,} predictions to train on, {len(tested):,} tested, of which {int(tested.moved.sum()):,} moved: "
        "log loss, Brier, calibration and hit rate are of those, the rest of all.",
        f"Features {FEATURES_ID}, seed {questions.seed}; blocks of {questions.block_ns / 1e9:g} s, {questions.draws:,} draws.",
    ]  # fmt: skip

"""`tickwire evaluate`: every model and baseline on real days, with intervals, as a page with plots."""

import json as to_json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli.plain import finite
from infra.settings import Settings
from schemas.errors import InputError

if TYPE_CHECKING:
    from models.dataset import Dataset
    from models.report import Report


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command."""

    paths: tuple[Path, ...]
    symbols: str = ""
    train: str = ""
    test: str = ""
    folds: int = 5
    horizon_s: float = 0.0
    seed: int = 0
    draws: int = 1_000
    out: Path = Path("docs/models.md")


def run_dataset(settings: "Settings", asked: Asked, *, as_json: bool) -> None:
    """The same of what `tickwire nightly` wrote."""
    from infra.nightly.matrix import load  # noqa: PLC0415

    if len(asked.paths) != 1:
        raise InputError(
            f"--dataset: expected one directory that `tickwire nightly` wrote, found {len(asked.paths)} paths"
        )
    run(settings, asked, as_json=as_json, load=load)


def run(
    settings: Settings, asked: Asked, *, as_json: bool, load: "Callable[[Path], Dataset] | None" = None
) -> None:  # fmt: skip
    """Evaluate, write the page and print where it lies. With `load`, the one path is a directory that it reads as a dataset."""
    from infra.evaluation import write  # noqa: PLC0415

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=as_json,
    )
    with bar:
        task = bar.add_task("reading", total=None)
        report = _report(
            settings,
            asked,
            load,
            lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    written = write(report, asked.out)
    if as_json:
        sys.stdout.write(to_json.dumps(finite(_told(report, written))) + "\n")
        return
    from models.report import claims  # noqa: PLC0415

    print("\n".join([*claims(report.parts[0]), *map(str, report.alarms), f"written: {', '.join(map(str, written))}"]))


def _report(
    settings: Settings, asked: Asked, load: "Callable[[Path], Dataset] | None", told: Callable[[str, int, int], None]
) -> "Report":
    from infra.chosen_recordings import chosen  # noqa: PLC0415
    from infra.evaluation import Questions, report_of, report_of_recordings  # noqa: PLC0415

    train, test = _day(asked.train, "--train"), _day(asked.test, "--test")
    questions = Questions(
        command=" ".join(map(shlex.quote, ["tickwire", *sys.argv[1:]])), train=train, test=test, folds=asked.folds,
        seed=asked.seed, draws=asked.draws,
    )  # fmt: skip
    if load is not None:
        return report_of(load(asked.paths[0]), questions, told)
    if asked.horizon_s:
        horizon = timedelta(seconds=asked.horizon_s)
        settings = settings.model_copy(update={"fold": settings.fold.model_copy(update={"horizon": horizon})})
    days = frozenset(each for each in (train, test) if each is not None) if train and test else frozenset()
    symbols = frozenset(filter(None, asked.symbols.upper().split(",")))
    return report_of_recordings(chosen(asked.paths, symbols, days), settings, questions, told)


def _day(text: str, option: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InputError(f"{option}: expected a day such as 2013-10-07, was {text!r}") from error


def _told(report: "Report", written: list[Path]) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from models.report import claims  # noqa: PLC0415

    return {
        "written": [str(path) for path in written],
        "claims": claims(report.parts[0]),
        "alarms": [str(alarm) for alarm in report.alarms],
        "parts": {
            part.name: [
                {name: value for name, value in asdict(each).items() if name not in ("net", "reliability")}
                for each in part.evaluations
            ]
            for part in report.parts
        },
    }

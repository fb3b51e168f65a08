"""`tickwire nightly`: progress while it runs, then what the matrix, its checks and its model are."""

import json
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as Grid

from infra.cli.plain import finite, plain
from infra.instance import attached
from infra.nightly.data_checks import read_limits
from infra.nightly.run import REPORT, Night, Request, nightly
from infra.settings import Settings
from schemas.errors import InputError, TickwireError, WriterError
from streams.span_text import bound

if TYPE_CHECKING:
    from infra.nightly.keeping import Kept

REFUSED: Final = 1
"""Exit code where the data checks refuse the matrix."""
COULD_NOT: Final = 2
"""Exit code where it could not be done; 75 where another run holds the matrix."""


def request_of(  # noqa: PLR0913 - one argument an option
    *, first: str, end: str, log_id: str, symbols: str, horizon_s: float, train: bool, warm_start: bool, processes: int,
    into: Path | None, events: Path | None, save_events: Path | None, limits: Path | None, accept_loss: bool,
) -> Request:  # fmt: skip
    """The options as a request; `InputError` for one that cannot be."""
    if processes < 1:
        raise InputError(f"--processes: expected at least 1, was {processes}")
    return Request(
        begin=bound(first, "--from"), end=bound(end, "--to"), log_id=log_id,
        symbols=tuple(filter(None, (name.strip() for name in symbols.split(",")))),
        horizon=timedelta(seconds=horizon_s) if horizon_s else None, train=train, warm_start=warm_start,
        processes=processes, into=into, events=events, save_events=save_events, limits=read_limits(limits),
        accept_loss=accept_loss,
    )  # fmt: skip


def run(settings: Settings, request: Request, *, as_json: bool) -> int:
    """Replay, check, train and tell; 0 where all is well, 1 where the checks refuse the matrix, 2 and 75."""
    try:
        settings = attached(settings)
        night = _with_bar(settings, request, as_json=as_json)
        _tell(night, _kept(settings, night), as_json=as_json)
    except (TickwireError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL if isinstance(error, WriterError) else COULD_NOT
    except Exception:  # Python's own exit code for it would say that the checks refuse the matrix
        traceback.print_exc()
        return COULD_NOT
    if not night.passed:
        print(f"error: the data checks refuse this matrix; {night.directory / REPORT} says why", file=sys.stderr)
    return 0 if night.passed else REFUSED


def _kept(settings: Settings, night: Night) -> "Kept | None":
    from infra.nightly.keeping import keep  # noqa: PLC0415 (the registry's client is slow to import)

    return keep(settings, night) if night.passed else None


def _tell(night: Night, kept: "Kept | None", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(finite(as_numbers(night) | {"kept": kept and msgspec.structs.asdict(kept)})))
        return
    _tell_night(night)
    if kept:
        _tell_kept(kept)


def _tell_kept(kept: "Kept") -> None:
    registry = f"version {kept.version} of the registry, the challenger there" if kept.version else kept.fault
    print(f"{kept.model_id}: in the cache; {registry}")
    if kept.reference:
        print(f"no drift reference: {kept.reference}")
    print(f"let it score beside the champion: tickwire models challenge {kept.model_id}")


def _with_bar(settings: Settings, request: Request, *, as_json: bool) -> Night:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bar:
        steps: dict[str, Any] = {}

        def told(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bar.add_task(step, total=total, rate="")
            speed = bar.tasks[steps[step]].speed
            bar.update(steps[step], completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        return nightly(settings, request, told)


def as_numbers(night: Night) -> dict[str, Any]:
    """For machines."""
    checked, model = night.manifest.checked, night.model
    failed = [check for check in checked.checks if not check.passed] if checked else []
    return {
        "directory": str(night.directory), "id": night.manifest.id, "rows": night.manifest.rows,
        "records": sum(span.records for span in night.manifest.plan.spans), "folded_now": folded_now(night),
        "seconds": round(night.seconds, 3), "events_per_s": rate(night), "events_per_s_per_process": rate_per_process(night),
        "cpu_us_per_event": cpu_us(night), "spent_s": {name: round(seconds, 3) for name, seconds in spent(night).items()},
        "did_nothing": not night.folded and not night.trained, "passed": night.passed,
        "failed": [[check.name, check.subject, check.found, check.limit] for check in failed],
        "report": str(night.directory / REPORT), "model": model and model.id, "model_sha256": model and model.sha256,
        "test_log_loss": model and model.metrics and model.metrics.log_loss,
    }  # fmt: skip


def folded_now(night: Night) -> int:
    """Records that this very run has folded."""
    return sum(each.now for each in night.folded)


def rate(night: Night) -> int | None:
    """Records per second of all processes together; None where nothing was folded."""
    return round(folded_now(night) / night.seconds) if folded_now(night) else None


def rate_per_process(night: Night) -> int | None:
    """Records per second of one process, on average, from opening the log to its last piece."""
    busy = sum(each.spent.seconds for each in night.folded)
    return round(folded_now(night) / busy) if folded_now(night) else None


def cpu_us(night: Night) -> float | None:
    """Processor time of the folding and writing threads for one record, in microseconds: what the rate is on an idle machine."""
    busy = sum(each.spent.cpu_seconds for each in night.folded)
    return round(1e6 * busy / folded_now(night), 3) if folded_now(night) else None


def spent(night: Night) -> dict[str, float]:
    """Seconds of the processes by what they went into."""
    total: dict[str, float] = {}
    for each in night.folded:
        rest = each.spent.seconds - sum(each.spent.parts.values())
        for name, seconds in {**each.spent.parts, "folding": rest}.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _tell_night(night: Night) -> None:
    console, manifest = plain(), night.manifest
    if not night.folded and not night.trained:
        console.print(f"nothing to do: {night.directory} was finished before")
    if folded_now(night):
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent(night).items())
        console.print(
            f"folded {folded_now(night):,} records in {night.seconds:.1f} s: {rate(night):,}/s, "
            f"{rate_per_process(night):,}/s per process ({parts}; {cpu_us(night)} µs of processor a record)"
        )
    console.print(f"{manifest.rows:,} rows in {len(manifest.pieces)} pieces: {night.directory}", soft_wrap=True)
    failed = [check for check in manifest.checked.checks if not check.passed] if manifest.checked else []
    if failed:
        grid = Grid("check", "of", "found", "limit", "for example", title="what failed", title_justify="left")
        for check in failed:
            found = "none" if check.found is None else f"{check.found:.6g}"
            grid.add_row(check.name, check.subject, found, f"{check.limit:g}", "; ".join(check.examples[:1]))
        console.print(grid)
    if night.model and night.model.metrics:
        console.print(
            f"model {night.model.id}: log loss {night.model.metrics.log_loss:.4f} on {night.model.metrics.rows_tested} test "
            f"rows ({night.model.metrics.base_log_loss:.4f} for always saying the base rate)"
        )

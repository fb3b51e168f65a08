"""`tickwire verify`: proof that what was served is what the log says."""

import json
import sys
import traceback
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from infra.cli.plain import finite, plain
from infra.instance import attached
from infra.judged_range import Request, parse_bound
from infra.settings import Settings
from infra.verify import verify
from schemas.errors import TickwireError
from streams.verdict import Verdict, told

SHOWN: Final = 10
COULD_NOT: Final = 2


def run(
    settings: Settings, *, bounds: tuple[str, str], log_id: str, capture: Path | None, kills: int | None, as_json: bool
) -> int:
    """Verify and print; 0 where all is as it must be, 1 where something differs, 2 where it could not be done."""
    try:
        request = Request(
            log_id=log_id,
            begin=parse_bound(bounds[0], "--from") or {},
            end=parse_bound(bounds[1], "--to"),
            capture=capture,
        )
        verdict = _verified(attached(settings), request)
    except (TickwireError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # Python's own exit code for it would say that something differs
        traceback.print_exc()
        return COULD_NOT
    numbers = verdict.numbers(kills)
    if as_json:
        print(json.dumps(finite({**numbers, **verdict.details()})))
    else:
        print(" ".join(f"{name}={'' if value is None else value}" for name, value in numbers.items()))
        _show(verdict)
    return 0 if verdict.clean else 1


def _verified(settings: Settings, request: Request) -> Verdict:
    columns = (
        TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verify", total=None, rate="waiting until everything must be stored")

        def on_progress(done: int, total: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, total=total, rate=f"{speed or 0:,.0f}/s")

        return verify(settings, request, on_progress)


def _show(verdict: Verdict) -> None:
    console = plain()
    if verdict.findings:
        names = ("what", "table", "partition", "offset", "column", "expected", "found")
        grid = Grid(*names, title=f"the first {min(SHOWN, len(verdict.findings))} findings", title_justify="left")
        for each in verdict.findings[:SHOWN]:
            grid.add_row(*(str(getattr(each, name)) for name in names))
        console.print(grid)
    for left_out in told(verdict):
        console.print("not compared: {values:,} values of {table}.{column}: {why}".format(**left_out))
    for note in verdict.notes:
        console.print(note)

"""`tickwire models promote …` and its like, and the scoreboard."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
from rich.table import Table as Grid

from infra.access.audited import record_command
from infra.cli.outcome import show_outcome
from infra.cli.plain import finite, plain
from infra.clickhouse import connect
from infra.clock import WallClock
from infra.instance import attached
from infra.models.changes import ask, taken, write_changes
from infra.models.scoreboard import MEASURES, By, Line, Wanted, scoreboard, told
from infra.models.warm_start import warm_changes
from infra.settings import Settings
from schemas.control import ModelChange
from schemas.errors import ModelError, SettingsError


def change(settings: Settings, action: str, model: str, by: str, why: str, *, as_json: bool) -> int:
    """Write the change onto the log and say where its fence is. 0 taken, 1 refused by a partition, 2 nobody scores."""
    settings = attached(settings)
    try:
        asked = msgspec.convert({"action": action, "model": model, "by": by, "why": why}, ModelChange)
    except msgspec.ValidationError as error:
        raise ModelError(f"not a change of the models: {error}") from error
    return _awaited(settings, ask(settings, asked), settings.kafka.partitions, (action, model), as_json=as_json)


def warm(settings: Settings, directory: Path, by: str, why: str, *, as_json: bool) -> int:
    """Let the online model of every partition go on from the state of a night. 0, 1 and 2 as of `change`."""
    settings = attached(settings)
    changes = warm_changes(directory, settings.kafka.partitions, by=by, why=why)
    record_command(settings, "model warm", night=str(directory))
    at = write_changes(settings.kafka, changes, WallClock())
    return _awaited(settings, at, len(changes), ("warm", str(directory)), as_json=as_json)


def _awaited(settings: Settings, at_ns: int, partitions: int, told: tuple[str, str], *, as_json: bool) -> int:
    """Wait until the change of this time is in force in so many partitions, and print where its fence is."""
    action, model = told
    database = connect(settings.clickhouse.url.get_secret_value(), timeout_s=30)
    try:
        found = taken(database, settings.clickhouse.database, at_ns, partitions, time.sleep)
    finally:
        database.close()
    refused = {str(partition): why for partition, (_, why) in found.items() if why}
    fence = {str(partition): offset for partition, (offset, why) in found.items() if not why}
    if as_json:
        print(json.dumps({"action": action, "model": model, "fence": fence, "refused": refused}))
    else:
        show_outcome(f"{action} {model}", fence, refused)
    if len(found) < partitions and not as_json:
        print("it is on the log, but not all partitions are scored now; it is in force as soon as they are")
    return 1 if refused else 2 if len(found) < partitions else 0


def show_scoreboard(
    settings: Settings, hours: float, groups: Sequence[str], by: str, horizon_s: float, *, as_json: bool
) -> None:
    """Print how each model did, with intervals."""
    if by not in get_args(By):
        raise SettingsError(f"--by: expected {', '.join(get_args(By))}, was {by!r}")
    settings = attached(settings)
    made = {**settings.models.groups, **{name: tuple(name.split(",")) for name in groups}}
    wanted = Wanted(hours, made, cast(By, by), (round(horizon_s * 1e9),) if horizon_s else ())
    database = connect(settings.clickhouse.url.get_secret_value(), timeout_s=120)
    try:
        lines = scoreboard(database, settings.clickhouse.database, wanted)
    finally:
        database.close()
    if as_json:
        print(json.dumps([_as_json(line) for line in lines]))
        return
    grid = Grid(
        "group", "horizon", "model", "outcomes", "champion", "log loss", "gain mnat", "Brier", "calibration", "hit rate %",
        "IC", "bp a trade, net", box=None, header_style="bold",
    )  # fmt: skip
    for line in lines:
        grid.add_row(*_cells(line))
    console = plain()
    console.print(grid)
    for why in sorted({line.why for line in lines if line.found is not None and line.why}):
        console.print(why)


def _cells(line: Line) -> list[str]:
    first = [line.group, f"{line.horizon_s:g} s", line.model, f"{line.outcomes:,}", f"{line.champion_share:.0%}"]
    if line.found is None:
        return [*first, line.why, *[""] * 6]
    f = line.found
    return [
        *first, told(f.log_loss), told(f.gain, 1e3, 1), told(f.brier), told(f.calibration_error), told(f.hit_rate, 100, 1),
        told(f.information, digits=3), f"{told(f.net_bp, digits=2)} in {f.trades:,}",
    ]  # fmt: skip


def _as_json(line: Line) -> dict[str, Any]:
    about: dict[str, Any] = {
        "group": line.group, "horizon_s": line.horizon_s, "model": line.model, "outcomes": line.outcomes,
        "champion_share": line.champion_share, "why": line.why,
    }  # fmt: skip
    if line.found is not None:
        for name in MEASURES:
            interval = getattr(line.found, name)
            about[name] = {end: finite(getattr(interval, end)) for end in ("value", "low", "high")}
        about["trades"] = line.found.trades
    return about

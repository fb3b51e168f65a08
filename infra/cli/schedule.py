"""`tickwire nightly-run`, `nightly-due` and `schedule`: the nightly, when its trading day is over, once."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final

import msgspec

from infra.access.secret_values import secrets_of
from infra.instance import attached
from infra.logs import configure_logging
from infra.nightly.child import COMMAND, nightly_command, run_child
from infra.nightly.night_runs import NightRuns, RunHeld
from infra.nightly.schedule import Night, NightReport, SessionOffsets, run_night, wanted_run
from infra.nightly.trading_days import trading_days
from infra.settings import Settings
from schemas.errors import InputError, TickwireError

COULD_NOT: Final = 2
NOTHING_DUE: Final = 99
"""What Airflow takes for skipped."""
AT_START_AFTER: Final = timedelta(minutes=1)
NS_PER_S: Final = 1_000_000_000


def nightly_run(settings: Settings, calendar: str, settle: timedelta, *, day: str, as_json: bool) -> int:
    """0 done, or nothing to do; what the nightly returned (1: checks failed); 2 could not be done; 75 one is being made."""
    from infra.clock import WallClock  # noqa: PLC0415

    @contextmanager
    def log() -> Iterator[SessionOffsets]:
        from infra.session_log import session_log  # noqa: PLC0415

        with session_log(attached(settings)) as found:
            yield found

    try:
        report = run_night(
            _night(calendar, settle, day), runs_of(settings), log,
            lambda spans, held: run_child(nightly_command(spans, as_json=as_json), captured=as_json, held=held),
            WallClock().now_ns,
        )  # fmt: skip
    except (TickwireError, OSError) as error:
        return _refused(error)
    except Exception:  # Python's own exit code for it would say that checks failed
        traceback.print_exc()
        return COULD_NOT
    _tell(report, as_json=as_json)
    return report.exit_code


def nightly_due(settings: Settings, calendar: str, settle: timedelta, *, day: str, as_json: bool) -> int:
    """0 where `nightly-run` would run something; 99 where there is no session or its run is done; 2 where it is too early."""
    from infra.clock import WallClock  # noqa: PLC0415

    try:
        report, found = wanted_run(_night(calendar, settle, day), runs_of(settings), WallClock().now_ns())
    except (TickwireError, OSError) as error:
        return _refused(error)
    _tell(report, as_json=as_json)
    return 0 if found is not None else NOTHING_DUE


def schedule(settings: Settings, at: str, *, first_after: timedelta = AT_START_AFTER) -> None:
    """Start `tickwire nightly-run` every day at `at`, UTC, until told to stop."""
    from infra.nightly.timetable import daily, keep  # noqa: PLC0415
    from infra.stopping import Stop, ending  # noqa: PLC0415

    trigger = daily(at)
    configure_logging(settings.logging.level, json=settings.logging.json_lines, secrets=secrets_of(settings))
    stop = Stop(grace_s=14.0)  # the nightly may use its time to end
    stop.on_signals()
    with ending(stop):
        keep(trigger, [*COMMAND, "nightly-run"], stop, first_after=first_after)


def runs_of(settings: Settings) -> NightRuns:
    """What is known of the nightly runs of this data directory."""
    return NightRuns(settings.data.resolve() / "schedule")


def _night(calendar: str, settle: timedelta, day: str) -> Night:
    try:
        wanted = date.fromisoformat(day) if day else None
    except ValueError as error:
        raise InputError(f"--date: expected a date such as 2026-11-27, was {day!r}") from error
    return Night(trading_days(calendar), round(settle.total_seconds() * NS_PER_S), wanted)


def _refused(error: TickwireError | OSError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return os.EX_TEMPFAIL if isinstance(error, RunHeld) else COULD_NOT


def _tell(report: NightReport, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    stretch = f", offsets {report.first} to {report.end} of log {report.log_id}" if report.first else ""
    code = f" with status {report.exit_code}" if report.exit_code else ""
    print(f"nightly run of {report.day} ({report.calendar}): {report.state}{code}{stretch}")

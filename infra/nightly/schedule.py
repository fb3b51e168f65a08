"""One night: the run of one trading day, made once, whoever asks for it and however often.

cron, `tickwire schedule`, a Kubernetes CronJob and Airflow all call this and nothing else.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, Protocol

import msgspec

from infra.nightly.child import offsets_text
from infra.nightly.night_runs import NightRun, NightRuns, Spans
from streams.schedule import TradingDay, TradingDays, due

DONE: Final = 0
State = Literal["done", "already done", "failed", "no session", "nothing on the log", "due"]
Nightly = Callable[[Spans, int], tuple[int, str]]
"""(spans, descriptor of our lock) to exit status and what it said."""


class SessionOffsets(Protocol):
    """The current log, asked for stretches by the broker's time."""

    @property
    def log_id(self) -> str:
        """Which log it is."""

    def spans(self, begin_ns: int, end_ns: int) -> dict[int, tuple[int, int]]:
        """Partition to (first offset, next offset) of what came then; partitions that got nothing are left out."""


@dataclass(frozen=True, slots=True)
class Night:
    """What was asked for: the calendar, how long a session settles, and a date, or the newest that has settled."""

    days: TradingDays
    settle_ns: int
    wanted: date | None = None


class NightReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `first` and `end` as `tickwire nightly` is given them."""

    state: State
    calendar: str
    day: date | None = None
    exit_code: int = DONE
    first: str = ""
    end: str = ""
    log_id: str = ""
    tries: int = 0
    nightly: Any = None
    """What the nightly said with --json."""


def wanted_run(night: Night, runs: NightRuns, now_ns: int) -> tuple[NightReport, TradingDay | None]:
    """Whether there is something to run, and of which session: state `due`, else why not. Asks no service.

    `InputError` where the session that was asked for has not settled.
    """
    calendar = night.days.name
    day = due(night.days, now_ns, night.settle_ns, night.wanted)
    if day is None:
        return NightReport(state="no session", calendar=calendar, day=night.wanted), None
    run = runs.read(calendar, day.day)
    if run is not None and run.state == "done":
        return _report("already done", run), None
    return NightReport(state="due", calendar=calendar, day=day.day, tries=run.tries if run else 0), day


def run_night(
    night: Night, runs: NightRuns, log: Callable[[], AbstractContextManager[SessionOffsets]], nightly: Nightly,
    now: Callable[[], int],
) -> NightReport:  # fmt: skip
    """Make the run that is due, unless it is done. `RunHeld` where another one is being made."""
    report, day = wanted_run(night, runs, now())
    if day is None:
        return report
    with runs.locked() as held:
        report, day = wanted_run(night, runs, now())  # whoever held the lock until now may have made it
        if day is None:
            return report
        with log() as offsets:
            run = _planned(night, runs, day, offsets)
        if not run.spans:
            return _report("nothing on the log", run)
        run = msgspec.structs.replace(
            run, tries=run.tries + 1, state="planned", exit_code=None, began_ns=now(), ended_ns=0
        )
        runs.write(run)
        code, said = nightly(run.spans, held)
        run = msgspec.structs.replace(run, state="done" if code == DONE else "failed", exit_code=code, ended_ns=now())
        runs.write(run)
    return _report("done" if code == DONE else "failed", run, said)


def _planned(night: Night, runs: NightRuns, day: TradingDay, log: SessionOffsets) -> NightRun:
    """The stretch of an earlier try on this log, which its nightly may go on from; else what the broker says."""
    run = runs.read(night.days.name, day.day)
    if run is not None and run.log_id == log.log_id:
        return run
    spans = log.spans(day.start_ns, day.ends_ns(night.settle_ns))
    tries = run.tries if run is not None else 0
    return NightRun(day=day.day, calendar=night.days.name, log_id=log.log_id, spans=spans, tries=tries)


def _report(state: State, run: NightRun, said: str = "") -> NightReport:
    return NightReport(
        state=state, calendar=run.calendar, day=run.day, exit_code=run.exit_code or DONE, log_id=run.log_id,
        first=offsets_text({p: span[0] for p, span in run.spans.items()}),
        end=offsets_text({p: span[1] for p, span in run.spans.items()}), tries=run.tries, nightly=_parsed(said),
    )  # fmt: skip


def _parsed(said: str) -> Any:
    """Its JSON; what it said otherwise, as it is."""
    try:
        return msgspec.json.decode(said) if said else None
    except msgspec.DecodeError:
        return said

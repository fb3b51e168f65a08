"""`tickwire schedule`: APScheduler starts the nightly run at its hour, tries again where it could not be done, and makes up
for the hour that passed while nothing ran."""

import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger

from infra.nightly.child import STOP_WITHIN_S
from schemas.errors import SettingsError

MISFIRE_GRACE: Final = timedelta(hours=12)
"""A machine that slept through the hour runs it when it wakes, if that is not later than this."""
TRY_AGAIN_AFTER: Final = timedelta(minutes=15)
TRIES: Final = 4
FINAL: Final = frozenset({0, 1})
"""Exit statuses that trying again does not change: done, and records that fail their checks."""
log: Final = logging.getLogger(__name__)


def daily(at: str) -> CronTrigger:
    """Every day at `HH:MM`, UTC: no summer time skips an hour or repeats it."""
    try:
        hour = datetime.strptime(at, "%H:%M")
    except ValueError as error:
        raise SettingsError(f"TICKWIRE_NIGHTLY__AT: expected a time of day in UTC such as 22:30, was {at!r}") from error
    return CronTrigger(hour=hour.hour, minute=hour.minute, timezone=UTC)


class NightlyJob:
    """Runs the command as a child of a thread of the scheduler; one at a time."""

    def __init__(self, command: Sequence[str], again: Callable[[], None]) -> None:
        self._command, self._again = list(command), again
        self._child: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._stopped = False
        self.failed = 0
        """Tries in a row that could not be done."""

    def __call__(self) -> None:
        with self._guard:
            if self._stopped:
                return
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        code = self._child.wait()
        if self._stopped:
            return
        self.failed = 0 if code in FINAL else self.failed + 1
        log.log(logging.INFO if code == 0 else logging.WARNING, "the nightly run ended with status %d", code)
        if 0 < self.failed < TRIES:
            self._again()
        else:
            self.failed = 0

    def stop(self) -> None:
        """Start nothing any more; SIGTERM for the child, which passes it on, and SIGKILL where that does not end it."""
        with self._guard:
            self._stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_WITHIN_S + 2.0)
            except subprocess.TimeoutExpired:
                self._child.kill()


def keep(
    trigger: Any, command: Sequence[str], stop: threading.Event, *, first_after: timedelta,
    again_after: timedelta = TRY_AGAIN_AFTER,
) -> None:  # fmt: skip
    """Run the command whenever `trigger` says, and once after `first_after`, until `stop` is set. It must be idempotent."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={
            "coalesce": True, "max_instances": 1, "misfire_grace_time": round(MISFIRE_GRACE.total_seconds()),
        },
    )  # fmt: skip

    def once(name: str, after: timedelta) -> None:
        scheduler.add_job(job, DateTrigger(datetime.now(UTC) + after), id=name, name=name, replace_existing=True)

    job = NightlyJob(command, lambda: once("nightly again", again_after))
    scheduler.add_job(job, trigger, id="nightly", name="nightly")
    once("nightly missed", first_after)
    scheduler.start()
    try:
        stop.wait()
    finally:
        job.stop()
        scheduler.shutdown(wait=True)

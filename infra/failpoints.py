"""Faults on order: `FP=sink.after_insert:kill@7` kills this process the seventh time it comes to that place.

`FP` is a list of `name:action[@n]` separated by commas and read once. Actions: `kill` (SIGKILL), `stop` (SIGSTOP), `raise`
(`BackendError`), `sleep=SECONDS`. With `@n` only the n-th time, else every time. For tests and the fault bench; without `FP`
a place costs one look at an empty dict.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import BackendError, SettingsError

VARIABLE: Final = "FP"
NAMES: Final = frozenset(
    [
        "source.open", "source.after_poll", "fold.before_restore", "sink.before_insert", "sink.after_insert",
        "sink.before_high_water", "sink.after_high_water", "topics.before_flush", "topics.after_flush",
        "latest.before_write", "lease.before_take", "lease.before_renew", "rebuild.midway",
        "nightly.before_piece", "nightly.after_piece",
        "alerts.before_put", "alerts.after_put", "hooks.before_send", "hooks.after_send", "hooks.after_record",
    ]
)  # fmt: skip
_FAULT: Final = re.compile(
    r"(?P<name>[a-z_.]+):(?P<action>kill|stop|raise|sleep=(?P<s>\d+(\.\d+)?))(@(?P<nth>[1-9]\d*))?"
)


@dataclass
class Fault:
    """What happens at one place: `act` at the `nth` visit, at every one where that is None."""

    act: Callable[[], None]
    nth: int | None
    visits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def visit(self) -> None:
        """Count, and act where it is time."""
        with self.lock:
            self.visits += 1
            due = self.nth is None or self.visits == self.nth
        if due:
            self.act()


def hit(name: str) -> None:
    """Come to a place: does nothing unless `FP` plans a fault there. Raises BackendError where it says `raise`."""
    if _planned:
        for fault in _planned.get(name, ()):
            fault.visit()


def plan(text: str) -> Mapping[str, Sequence[Fault]]:
    """Faults by name; SettingsError names what is none."""
    faults: dict[str, list[Fault]] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        found = _FAULT.fullmatch(part)
        if found is None or found["name"] not in NAMES:
            raise SettingsError(
                f"{VARIABLE}: expected name:action such as sink.after_insert:kill@7, found {part!r}; "
                f"actions: kill, stop, raise, sleep=SECONDS; names: {', '.join(sorted(NAMES))}"
            )
        nth = found["nth"]
        faults.setdefault(found["name"], []).append(
            Fault(_action(found["name"], found["action"]), int(nth) if nth else None)
        )
    return faults


def _action(name: str, action: str) -> Callable[[], None]:
    if action in ("kill", "stop"):
        number = signal.SIGKILL if action == "kill" else signal.SIGSTOP
        return lambda: os.kill(os.getpid(), number)
    if action == "raise":
        return lambda: _fail(name)
    seconds = float(action.removeprefix("sleep="))
    return lambda: time.sleep(seconds)


def _fail(name: str) -> None:
    raise BackendError(f"the fault that {VARIABLE} plans at {name}")


_planned: Final = plan(os.environ.get(VARIABLE, ""))

"""Who goes first: the program that is started has the rank that was asked for, and runs all the same where it may not."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.child import rank
from infra.embedded.service import Process, Service, tail

TOLD = """
import os
print(os.getpriority(os.PRIO_PROCESS, 0))
try:
    print((open("/proc/self/autogroup").read().split() or ["none"])[-1])
except OSError:
    print("none")
"""
AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")


def ranked(nice: int, log: Path) -> list[str]:
    """Its own value, and that of its session where the kernel keeps one."""
    process = Process(Service("ranked", [sys.executable, "-c", TOLD], lambda: True, nice=nice), log)
    process.wait()
    assert process.exit_code() == 0, tail(log)
    return log.read_text().split()


@pytest.mark.parametrize("nice", [0, 7])
def test_a_program_has_its_rank_also_among_sessions(nice: int, tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    own, session = ranked(nice, tmp_path / "log")
    asked = nice or before
    assert int(own) == (asked if os.geteuid() == 0 else max(before, asked)), "only root may go before what it was"
    if AUTOGROUPS.exists() and AUTOGROUPS.read_text().strip() == "1":
        assert session == str(nice)


def test_who_may_not_go_first_runs_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*what: Any, **_: Any) -> None:
        asked.append(what)
        raise PermissionError(1, "only root may")

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    rank(-5)
    monkeypatch.undo()
    assert asked == [(os.PRIO_PROCESS, 0, -5), ("/proc/self/autogroup", "w")]

"""Faults on order happen where and when they were ordered, and a misspelt one is refused."""

import signal
import subprocess
import sys
from time import monotonic

import pytest

from infra.failpoints import plan
from schemas.errors import BackendError, SettingsError


def process(fp: str, *names: str) -> "subprocess.CompletedProcess[str]":
    """A process that comes to these places one after the other and says so."""
    lines = "\n".join(f"hit({name!r}); print({name!r}, flush=True)" for name in names)
    return subprocess.run(
        [sys.executable, "-c", f"from infra.failpoints import hit\n{lines}"],
        env={"FP": fp, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_plan_nothing_happens() -> None:
    done = process("", "sink.before_insert", "source.open")
    assert (done.returncode, done.stdout.split()) == (0, ["sink.before_insert", "source.open"])


def test_a_process_is_killed_at_its_nth_visit() -> None:
    done = process(
        "sink.after_insert:kill@3", "sink.after_insert", "source.open", "sink.after_insert", "sink.after_insert"
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["sink.after_insert", "source.open", "sink.after_insert"]


def test_a_fault_without_a_number_happens_at_every_visit() -> None:
    (fault,) = plan("topics.before_flush:raise")["topics.before_flush"]
    for _ in range(2):
        with pytest.raises(BackendError, match=r"FP plans at topics\.before_flush"):
            fault.visit()


def test_faults_at_different_places_are_separated_by_commas() -> None:
    faults = plan("source.open:sleep=0.05, latest.before_write:raise@2")
    began = monotonic()
    faults["source.open"][0].visit()
    assert monotonic() - began >= 0.05
    faults["latest.before_write"][0].visit()
    with pytest.raises(BackendError):
        faults["latest.before_write"][0].visit()
    faults["latest.before_write"][0].visit()


@pytest.mark.parametrize(
    "wrong",
    ["sink.after_insrt:kill", "sink.after_insert:explode", "sink.after_insert", "x:sleep=", "sink.after_insert:kill@0"],
)
def test_what_is_no_fault_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="FP: expected name:action"):
        plan(wrong)
    assert process(wrong).returncode == 1

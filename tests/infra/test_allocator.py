"""What a backlog took is given back: measured in a process of its own, with the advice and without."""

import subprocess
import sys

import pytest

BACKLOG = """
import sys
from pathlib import Path

from infra.allocator import give_back

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")) >> 10

if sys.argv[1] == "advised" and not give_back():
    sys.exit("no such allocator")
bytearray(20 << 20)  # what is freed once raises the size from which blocks have pages of their own
before = resident()
blocks, kept = [], []
for _ in range(150):
    blocks.append(bytearray(1 << 20))
    kept.append(bytearray(2_000))  # lives on, behind it
most = resident()
blocks.clear()
print(before, most, resident())
"""


def held(how: str) -> tuple[int, int]:
    """MiB more than before: with the backlog, and when it has been dealt with."""
    done = subprocess.run([sys.executable, "-c", BACKLOG, how], capture_output=True, text=True, timeout=60, check=False)
    if "no such allocator" in done.stderr:
        pytest.fail("glibc's mallopt is not here")
    before, most, after = map(int, done.stdout.split())
    return most - before, after - before


def test_a_backlog_leaves_nothing_behind_where_it_would_have() -> None:
    (most, left), (as_much, stayed) = held("advised"), held("not")
    assert (most > 140, as_much > 140) == (True, True)
    assert left < 20
    assert stayed > 100


CRUMBS = """
import time
from pathlib import Path

from infra.allocator import give_back, tidy

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")) >> 10

give_back()
before = resident()
crumbs = [bytes(4_000) for _ in range(30_000)]
kept = crumbs[::50]
most = resident()
crumbs.clear()
left = resident()
tidy(every_s=0.05)
until = time.monotonic() + 20
while resident() - before > 30 and time.monotonic() < until:
    time.sleep(0.05)
print(most - before, left - before, resident() - before)
"""


def test_what_lies_free_between_blocks_in_use_is_given_back_in_time() -> None:
    done = subprocess.run([sys.executable, "-c", CRUMBS], capture_output=True, text=True, timeout=60, check=True)
    most, left, at_last = map(int, done.stdout.split())
    assert most > 100
    assert left > 60  # or there is nothing to show
    assert at_last < 30

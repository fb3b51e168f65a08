"""What a benchmark ran on, and the processor time of processes and threads."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

# Linux numbers the clock of every process and thread so (posix-timers.h). /proc/PID/stat counts ticks of 10 ms, and misses
# what runs between two of them.
_CPU_TIME: Final = 2
_OF_THREAD: Final = 4


def about() -> dict[str, Any]:
    """Date, machine and how busy it is with other work."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads."""
    return time.clock_gettime(~pid << 3 | _CPU_TIME)


def thread_seconds() -> dict[int, float]:
    """Of every thread of this process, by its native id."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        try:
            found[int(task)] = time.clock_gettime(~int(task) << 3 | _CPU_TIME | _OF_THREAD)
        except OSError:
            continue  # it ended while we were looking
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

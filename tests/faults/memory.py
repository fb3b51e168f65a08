"""How much memory processes hold, and whether it grows: samples in, a slope with its confidence interval out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MINUTE_S = 60.0
BLOCK = 5
"""Minutes that are drawn together: what a process holds in one minute resembles what it held in the one before."""
DRAWS = 2_000
SEED = 20131007


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process held at one moment; `anonymous` is without pages of files, which the kernel may drop."""

    at_s: float
    process: str
    pid: int
    resident_kib: int
    anonymous_kib: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one process: MiB at the start, after the warm-up and at the end, and MiB/h after the warm-up."""

    process: str
    pids: int
    start: float
    warm: float
    end: float
    most: float
    slope: float
    low: float
    high: float
    """The interval that holds the slope with 95 %."""


def resident(pid: int) -> tuple[int, int] | None:
    """(all, anonymous) KiB of a process; None for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in told:
        return None
    return int(told["VmRSS"].split()[0]), int(told["RssAnon"].split()[0])


def growth(samples: Sequence[Sample], warm_up_s: float) -> list[Growth]:
    """Of every process, in the order in which they were first seen."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.process, []).append(sample)
    return [_growth(name, taken, warm_up_s) for name, taken in by_name.items()]


def _growth(name: str, taken: Sequence[Sample], warm_up_s: float) -> Growth:
    at = np.array([sample.at_s for sample in taken])
    held = np.array([sample.resident_kib for sample in taken]) / 1024
    after = at >= warm_up_s
    warm = float(held[after][0]) if after.any() else float("nan")
    slope, low, high = slope_per_hour(at[after], held[after])
    pids = len({sample.pid for sample in taken})
    return Growth(name, pids, float(held[0]), warm, float(held[-1]), float(held.max()), slope, low, high)


def slope_per_hour(at_s: NDArray[np.float64], value: NDArray[np.float64]) -> tuple[float, float, float]:
    """Least squares through the median of each minute: (slope an hour, low, high of 95 %), by a block bootstrap.

    NaN where there are less than three minutes.
    """
    minute = (at_s // MINUTE_S).astype(np.int64)
    minutes = np.unique(minute)
    if len(minutes) < 3:
        return (float("nan"),) * 3
    x = minutes / 60.0
    y = np.array([np.median(value[minute == each]) for each in minutes])
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (slope * x + intercept)
    rng, block = np.random.default_rng(SEED), min(BLOCK, len(x))
    draws = rng.integers(0, len(x) - block + 1, (DRAWS, -(-len(x) // block)))
    noise = residual[(draws[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, : len(x)]]
    centred = x - x.mean()
    slopes = slope + noise @ centred / (centred @ centred)
    low, high = np.percentile(slopes, [2.5, 97.5])
    return float(slope), float(low), float(high)


def table(found: Sequence[Growth]) -> str:
    """For people; MiB and MiB an hour."""
    lines = [f"{'process':14} {'start':>8} {'warm':>8} {'end':>8} {'most':>8}   slope/h (95 %)"]
    lines += [
        f"{g.process:14} {g.start:8.1f} {g.warm:8.1f} {g.end:8.1f} {g.most:8.1f}   {g.slope:+.2f} ({g.low:+.2f} … {g.high:+.2f})"
        + ("" if g.pids == 1 else f"  {g.pids} processes, one after the other")
        for g in found
    ]
    return "\n".join(lines)


def as_rows(found: Sequence[Growth]) -> list[Mapping[str, object]]:
    """For machines."""
    return [
        {
            "process": g.process, "pids": g.pids, "start_mib": round(g.start, 2), "warm_mib": round(g.warm, 2),
            "end_mib": round(g.end, 2), "most_mib": round(g.most, 2), "slope_mib_per_h": round(g.slope, 3),
            "low": round(g.low, 3), "high": round(g.high, 3),
        }
        for g in found
    ]  # fmt: skip

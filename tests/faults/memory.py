"""How much memory processes hold, and whether it grows: samples in, slopes with their confidence intervals out.

Two slopes an hour. Of the median of each minute: all that a process holds, with what it is busy with. Of the least of each
five minutes: what it holds at rest, which is where whatever is not given back stays; what a merge or a backlog takes for a
while is not in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MINUTE_S = 60.0
REST_S = 300.0
TOGETHER_S = 300.0
"""What is drawn together: what a process holds in one minute resembles what it held in the one before."""
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
class Slope:
    """MiB an hour, and the interval that holds it with 95 %; NaN where too little was seen."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} … {self.high:+.2f})"


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one process: MiB at the start, after the warm-up and at the end; what it held, and held at rest, after the warm-up."""

    process: str
    pids: int
    start: float
    warm: float
    end: float
    most: float
    held: Slope
    rest: Slope


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
    pids = len({sample.pid for sample in taken})
    slopes = slope_per_hour(at[after], held[after]), slope_at_rest(at[after], held[after])
    return Growth(name, pids, float(held[0]), warm, float(held[-1]), float(held.max()), *slopes)


def slope_per_hour(at_s: NDArray[np.float64], value: NDArray[np.float64]) -> Slope:
    """Of the median of each minute."""
    return _slope(at_s, value, MINUTE_S, np.median)


def slope_at_rest(at_s: NDArray[np.float64], value: NDArray[np.float64]) -> Slope:
    """Of the least of each five minutes."""
    return _slope(at_s, value, REST_S, np.min)


def _slope(
    at_s: NDArray[np.float64], value: NDArray[np.float64], every_s: float, of: Callable[[NDArray[np.float64]], Any]
) -> Slope:
    """Least squares through one number of each stretch of time; the interval by a block bootstrap of the residuals.

    Stretches of which less than half was seen, as at either end, are left out.
    """
    stretch = (at_s // every_s).astype(np.int64)
    stretches, seen = np.unique(stretch, return_counts=True)
    stretches = stretches[2 * seen >= seen.max(initial=0)]
    if len(stretches) < 3:
        return Slope(*(float("nan"),) * 3)
    x = stretches * every_s / 3600.0
    y = np.array([of(value[stretch == each]) for each in stretches])
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (slope * x + intercept)
    rng, block = np.random.default_rng(SEED), min(max(1, round(TOGETHER_S / every_s)), len(x))
    draws = rng.integers(0, len(x) - block + 1, (DRAWS, -(-len(x) // block)))
    noise = residual[(draws[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, : len(x)]]
    centred = x - x.mean()
    low, high = np.percentile(slope + noise @ centred / (centred @ centred), [2.5, 97.5])
    return Slope(float(slope), float(low), float(high))


def table(found: Sequence[Growth]) -> str:
    """For people; MiB and MiB an hour."""
    lines = [f"{'process':14} {'start':>8} {'warm':>8} {'end':>8} {'most':>8}   {'at rest/h (95 %)':24} held/h (95 %)"]
    lines += [
        f"{g.process:14} {g.start:8.1f} {g.warm:8.1f} {g.end:8.1f} {g.most:8.1f}   {g.rest!s:24} {g.held}"
        + ("" if g.pids == 1 else f"  {g.pids} processes, one after the other")
        for g in found
    ]
    return "\n".join(lines)


def as_rows(found: Sequence[Growth]) -> list[Mapping[str, object]]:
    """For machines."""
    return [
        {
            "process": g.process, "pids": g.pids, "start_mib": round(g.start, 2), "warm_mib": round(g.warm, 2),
            "end_mib": round(g.end, 2), "most_mib": round(g.most, 2), "rest_mib_per_h": _row(g.rest),
            "held_mib_per_h": _row(g.held),
        }
        for g in found
    ]  # fmt: skip


def _row(slope: Slope) -> Mapping[str, float]:
    return {"slope": round(slope.value, 3), "low": round(slope.low, 3), "high": round(slope.high, 3)}

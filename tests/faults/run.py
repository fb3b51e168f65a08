"""Kill everything, again and again, and count what the history lost.

    python -m tests.faults.run --services embedded|kafka3 --kills 200 [--seed N] [--rate 1500] [--json] [--results FILE]

The same seed kills the same parts in the same order under the same load. Exit code 1 where anything was found.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.faults.bench import BROKERS, Services, bench
from tests.faults.campaign import Campaign
from tests.faults.schedule import EMBEDDED, KAFKA3, Step, schedule

COUNTED = ("lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps")
SHOWN = (
    "events", "kills", "lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps", "recovery_p50", "recovery_p95",
    "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    services: Services
    kills: int
    seed: int
    rate: float = 1_500.0


def run(order: Order, said: Callable[[Step, float], None]) -> dict[str, Any]:
    """One run, from nothing to the verdict."""
    began = time.monotonic()
    weights, brokers = (EMBEDDED, 0) if order.services == "embedded" else (KAFKA3, BROKERS)
    with bench(order.services, order.seed, order.rate) as everything:
        outcome = Campaign(everything, said).run(schedule(order.seed, order.kills, weights, brokers))
        told = outcome.as_dict()
        told["deaths"] = everything.up.deaths() | {
            name: count for name, count in everything.killed.items() if name in ("generator", "broker", "up")
        }
    return told | {
        "services": order.services, "seed": order.seed, "rate": order.rate, "minutes": round((time.monotonic() - began) / 60, 1),
    }  # fmt: skip


def line(told: dict[str, Any]) -> str:
    """`events= kills= lost= …`"""
    return " ".join(f"{name}={told[name]}" for name in SHOWN)


def clean(told: dict[str, Any]) -> bool:
    """Nothing was lost, doubled or wrong: neither for the checker nor for `tickwire verify`."""
    judges = (told, told["verify"])
    return not any(each[name] for each in judges for name in COUNTED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", choices=("embedded", "kafka3"), required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rate", type=float, default=1_500.0, help="events a second")
    parser.add_argument("--json", action="store_true", help="everything that was measured")
    parser.add_argument("--results", type=Path, default=None, help="a file that gets one JSON line a run")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is taken away
    seed = random.SystemRandom().randrange(2**32) if told.seed is None else told.seed
    order = Order(told.services, told.kills, seed, told.rate)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        console.print(f"{order.services}: {order.kills} kills, seed {seed}")
        task = bar.add_task("starting", total=order.kills)

        def said(step: Step, seconds: float) -> None:
            bar.update(task, advance=step.kills, description=f"{step.kind}: {seconds:.1f} s")
            if not console.is_terminal:
                console.print(
                    f"{step.kind} {', '.join(step.victims)} {step.failpoint}: works again after {seconds:.2f} s"
                )

        result = run(order, said)
    if told.results is not None:
        with told.results.open("a") as out:
            out.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=1) if told.json else line(result), flush=True)
    return 0 if clean(result) else 1


if __name__ == "__main__":
    sys.exit(main())

"""How many records a second does one process of `tickwire nightly` fold, beside the same fold over an object an event?

One partition of a simulated market on an embedded broker. First block by block in turn: the same records read once, then
decoded and folded both ways by two shards, whose features must be the same bits. Then `tickwire nightly` itself, which also
writes the pieces. Seconds of the folding thread on the processor: others may be using the machine.

    python -m benchmarks.nightly --events 300000 --json
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from infra.bench.machine import about
from infra.bench.workbench import Market, write_log
from infra.cli.nightly import cpu_us, rate_per_process
from infra.composition import rules, sessions
from infra.embedded.services import KAFKA, WantedPorts, start_embedded
from infra.embedded.supervisor import Supervisor
from infra.instance import at
from infra.kafka import create_topics
from infra.log_identity import all_logs, spans
from infra.nightly.reading import polls_of
from infra.nightly.run import Request, nightly
from infra.settings import Fold, Kafka, Settings
from processors.columns import LogStretch
from processors.shard import Shard, ShardOutput
from schemas.topics import EVENTS
from streams.decode import Poll, decode
from streams.nightly import Unlearnt

WARM = 2
"""Blocks that are not counted."""
R = TypeVar("R")


def by_object(poll: Poll) -> LogStretch:
    """An object of every event; the shard turns them into columns."""
    return LogStretch(
        EVENTS.decode_all(poll.values),  # type: ignore[arg-type]
        poll.values,  # type: ignore[arg-type]
        np.array(poll.offsets, np.int64), np.array(poll.ts_broker, np.int64), [], np.empty(0, np.int64),
    )  # fmt: skip


@contextmanager
def broker() -> Iterator[Settings]:
    """A Kafka of our own with one partition, and settings that point at it."""
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-") as folder, Supervisor(Path(folder)) as supervisor:
        embedded = start_embedded(supervisor, WantedPorts(0, 0, 0), frozenset([KAFKA]))
        settings = at(
            Settings(data=Path(folder), kafka=Kafka(partitions=1), fold=Fold(calendars={}, other_horizons=())),
            embedded.as_dict(),
        )
        create_topics(settings.kafka)
        yield settings


def timed(spent: dict[str, float], part: str, work: Callable[[], R]) -> R:
    """Do it; the seconds of this thread on the processor go to a part."""
    began = time.thread_time()
    done = work()
    spent[part] = spent.get(part, 0.0) + time.thread_time() - began
    return done


def in_turn(settings: Settings) -> dict[str, Any]:
    """Microseconds of each part a record, both ways; `AssertionError` where the features differ."""
    (log,) = all_logs(settings.kafka)
    ways: dict[str, Callable[[Poll], LogStretch]] = {"objects": by_object, "columns": decode}
    shards = {
        way: Shard(0, Unlearnt(), None, rules=rules(settings.fold), sessions=sessions(settings.fold)) for way in ways
    }
    spent: dict[str, float] = {}
    polls, count, number = polls_of(settings, log, 0, *spans(settings.kafka, log)[0]), 0, 0
    while poll := timed(spent, "reading", lambda: next(polls, None)):
        number += 1
        outputs: list[ShardOutput] = []
        for way in sorted(ways, reverse=number % 2 == 0):
            stretch = timed(spent, f"{way}: decoding", lambda w=way, p=poll: ways[w](p))
            outputs.append(timed(spent, f"{way}: folding", lambda w=way, s=stretch: shards[w].advance(s)))
        assert outputs[0].features.tobytes() == outputs[1].features.tobytes()
        count += len(poll.values)
        if number == WARM:
            spent, count = {}, 0
    return {part: round(seconds / count * 1e6, 3) for part, seconds in spent.items()}


def measured(events: int) -> dict[str, Any]:
    """Everything, of a log of so many events."""
    with broker() as settings:
        write_log(settings.kafka, Market.of(events))
        gc.collect()
        gc.freeze()
        gc.disable()
        parts = in_turn(settings)
        archive = settings.data / "no-archive"
        archive.mkdir()
        night = nightly(settings, Request(train=False, into=settings.data / "matrix", events=archive))
    whole = {
        way: sum(us for part, us in parts.items() if part.split(":")[0] in ("reading", way))
        for way in ("objects", "columns")
    }
    return {
        "machine": about(),
        "cpu_us": parts,
        "events_per_cpu_s": {way: round(1e6 / us) for way, us in whole.items()},
        "ratio": round(whole["objects"] / whole["columns"], 2),
        "nightly_cpu_us": cpu_us(night),
        "nightly_events_per_cpu_s": round(1e6 / (cpu_us(night) or 1)),
        "nightly_events_per_s": rate_per_process(night),
    }


def main(argv: list[str]) -> None:
    """Print the numbers, as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=300_000)
    asked = parser.parse_args(argv)
    found = measured(asked.events)
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{name:26}{part:20}{number!s:>14}")


if __name__ == "__main__":
    main(sys.argv[1:])

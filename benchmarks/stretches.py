"""What a poll costs the scoring process, by how many records it brought.

    python -m benchmarks.stretches [--events 20000] [--model data/models/mlp.manifest.json] [--profile 8] [--json]

From the bytes of the log to messages and rows, without Kafka, Redis and ClickHouse; 20 symbols, rows of 70 % quotes and 30 %
trades. Microseconds of this thread's processor time a poll, by stage. `--profile N`: functions of polls of N records instead.
"""

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.rules import market
from models.online import OnlineModel
from models.onnx import OnnxModel
from processors.bars import KINDS
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import Shard, ShardOutput
from schemas.topics import EVENTS
from streams.decode import Poll, decode
from streams.messages import MessageMaker
from streams.rows import RowMaker

SIZES: Final = (1, 8, 32, 128, 512)
WARM: Final = 4_096


@dataclass
class Scoring:
    """What the scoring process does with a poll."""

    shard: Shard
    spent: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        common = ("log", FEATURE_NAMES, FEATURES_ID, [kind.name for kind in KINDS])
        self.messages, self.rows = MessageMaker(*common), RowMaker(*common)

    def take(self, poll: Poll) -> None:
        """Fold and say one poll."""
        times = [time.thread_time()]
        stretch = decode(poll)
        times.append(time.thread_time())
        output = self.shard.advance(stretch)
        times.append(time.thread_time())
        output = self.shard.number(output)
        times.append(time.thread_time())
        self._say(output)
        times.append(time.thread_time())
        self.messages.latest(output)
        times.append(time.thread_time())
        self.rows.blocks(output)
        times.append(time.thread_time())
        for stage, began, ended in zip(
            ("decode", "advance", "number", "messages", "latest", "rows"), times, times[1:], strict=False
        ):
            self.spent[stage] = self.spent.get(stage, 0.0) + ended - began

    def _say(self, output: ShardOutput) -> None:
        maker = self.messages
        for make in (maker.predictions, maker.bars, maker.outcomes, maker.alerts, maker.dead_letters):
            make(output)


def polls(values: Sequence[bytes], size: int) -> list[Poll]:
    """The log, so many records at a time."""
    return [
        Poll(0, list(values[at : at + size]), list(range(at, at + size)), [at // 5] * size)
        for at in range(0, len(values) - size + 1, size)
    ]


def started(model: OnnxModel | None, values: Sequence[bytes]) -> Scoring:
    """With its first records folded, so that everything is compiled and loaded."""
    scoring = Scoring(Shard(0, OnlineModel(FEATURE_NAMES), model))
    for poll in polls(values[:WARM], 512):
        scoring.take(poll)
    scoring.spent.clear()
    return scoring


def measure(values: Sequence[bytes], model: OnnxModel | None) -> dict[int, dict[str, float]]:
    """Microseconds a poll by stage, for each size."""
    found = {}
    for size in SIZES:
        scoring = started(model, values)
        folded = [poll for poll in polls(values, size) if poll.offsets[0] >= WARM]
        for poll in folded:
            scoring.take(poll)
        found[size] = {stage: 1e6 * seconds / len(folded) for stage, seconds in scoring.spent.items()}
    return found


def profile(values: Sequence[bytes], model: OnnxModel | None, size: int) -> None:
    """Print the functions that polls of this size spend their time in."""
    scoring = started(model, values)
    with cProfile.Profile() as seen:
        for poll in polls(values, size):
            if poll.offsets[0] >= WARM:
                scoring.take(poll)
    pstats.Stats(seen).sort_stats("cumtime").print_stats(70)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument(
        "--model", type=Path, default=None, help="manifest of an ONNX model; without it the online model alone scores"
    )
    parser.add_argument("--profile", type=int, default=0, metavar="N")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    values = [EVENTS.encode(event) for event in market(WARM + asked.events)]
    model = None if asked.model is None else OnnxModel.load(asked.model)
    if asked.profile:
        profile(values, model, asked.profile)
        return 0
    found = measure(values, model)
    if asked.json:
        print(json.dumps(found))
        return 0
    stages = list(found[SIZES[0]])
    print("records", *(f"{stage:>9}" for stage in stages), f"{'together':>9} µs a poll")
    for size, spent in found.items():
        print(f"{size:7}", *(f"{spent[stage]:9.1f}" for stage in stages), f"{sum(spent.values()):9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast is the scoring process? It runs as it does in production, in a process of its own, over a log that is there.

Measured from the first poll that brought records until the last row is stored in ClickHouse and the last message is
acknowledged by Kafka; then counted, at both, whether nothing is missing.
"""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from infra.bench.machine import cpu_seconds, thread_seconds
from infra.bench.workbench import Workbench, in_child, records
from infra.clickhouse import connect
from infra.score import run
from infra.settings import Settings
from infra.telemetry import Telemetry
from schemas.errors import BackendError
from schemas.topics import PREDICTIONS

STAGE: Final = "tickwire_score_stage_seconds"
LOOK_EVERY_S: Final = 0.02
STAGES: Final = (
    "consume", "decode", "advance", "predictions", "latest", "redis", "blocks", "clickhouse_wait", "acknowledge", "snapshot",
)  # fmt: skip
"""Of the main thread, one after the other."""
BESIDE: Final = ("clickhouse",)
"""In a thread of its own."""


@dataclass(frozen=True, slots=True)
class Folded:
    """One run: `records` read, `folded` of them scored, and where the time went."""

    records: int
    folded: int
    seconds: float
    read_seconds: float
    """Until the last record was folded and handed to all sinks; what follows is the end of the last epoch."""
    stages: Mapping[str, float]
    """Seconds by stage, of the main thread first."""
    cpu: Mapping[str, float]
    """Processor seconds: of us, of our threads, of each service."""

    @property
    def rate(self) -> float:
        """Events per second, end to end."""
        return self.folded / self.seconds


def fold_all(bench: Workbench, give_up_s: float = 300.0) -> Folded:
    """Score everything that is on the log; `BackendError` where rows or messages are missing or doubled afterwards."""
    folded = in_child(_score, bench.settings, records(bench.settings.kafka), bench.pids(), give_up_s)
    _check(bench.settings, folded)
    return folded


def _check(settings: Settings, folded: Folded) -> None:
    database = connect(settings.clickhouse.url.get_secret_value())
    found = {PREDICTIONS.name: records(settings.kafka, PREDICTIONS.name)}
    for table in ("features", "predictions"):
        query = f"SELECT count() FROM `{settings.clickhouse.database}`.`{table}`"  # noqa: S608
        found[table] = database.rows(query).rows[0][0]
    database.close()
    if set(found.values()) != {folded.folded}:
        raise BackendError(
            f"{folded.folded} events were folded, but there are {found}: a measurement of lost rows is none"
        )


def _score(settings: Settings, count: int, services: Mapping[str, int], give_up_s: float) -> Folded:
    """The scoring process until all is stored."""
    watch = Watch(count, services, lambda: records(settings.kafka, PREDICTIONS.name))
    watching = threading.Thread(target=watch.stop_when_stored, args=(give_up_s,), daemon=True)
    watching.start()
    run(settings, telemetry=watch)
    watching.join()
    if watch.end is None:
        raise BackendError(f"{sum(watch.doors.values())} of {count} records were stored within {give_up_s:g} s")
    return watch.folded()


@dataclass(frozen=True, slots=True)
class _Usage:
    """Processor seconds at one moment."""

    at: float
    cpu: Mapping[str, float]

    @classmethod
    def now(cls, services: Mapping[str, int], at: float) -> "_Usage":
        threads = thread_seconds()
        main = os.getpid()
        storing = {t.native_id for t in threading.enumerate() if t.name.startswith(("clickhouse", "blocks"))}
        cpu = {
            "score": sum(threads.values()),
            "score: main thread": threads[main],
            "score: clickhouse thread": sum(threads.get(each or 0, 0.0) for each in storing),
        }
        cpu["score: other threads (Kafka client)"] = cpu["score"] - sum(list(cpu.values())[1:])
        return cls(at, cpu | {name: cpu_seconds(pid) for name, pid in services.items()})


@dataclass
class _Stages:
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    last: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class Watch(Telemetry):
    """The telemetry of a scoring process, which also sees when everything is stored."""

    def __init__(self, count: int, services: Mapping[str, int], written: Callable[[], int]) -> None:
        self._count, self._services, self._written = count, services, written
        self.doors: dict[str, float] = defaultdict(float)
        self.rows: dict[str, float] = defaultdict(float)
        super().__init__()
        self._stages = _Stages()
        self.begin: _Usage | None = None
        self.end: _Usage | None = None

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        super().observe(name, seconds, **labels)
        if name == STAGE:
            if self.begin is None and labels["stage"] == "consume":
                self.begin = _Usage.now(self._services, perf_counter() - seconds)
            self._stages.spent[labels["stage"]] += seconds
            self._stages.last[labels["stage"]] = perf_counter()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        super().count(name, amount, **labels)
        if name == "tickwire_score_events_total":
            self.doors[labels["outcome"]] += amount
        elif name == "tickwire_clickhouse_rows_total":
            self.rows[labels["table"]] += amount

    def stop_when_stored(self, give_up_s: float) -> None:
        """Look now and then, and stop this process by the signal that stops it in production."""
        deadline = perf_counter() + give_up_s
        while not (stored := self._stored()) and perf_counter() < deadline:
            time.sleep(LOOK_EVERY_S)
        if stored:
            self.end = _Usage.now(self._services, perf_counter())
        os.kill(os.getpid(), signal.SIGTERM)

    def _stored(self) -> bool:
        """Everything is in ClickHouse and, asked last because it costs, at the broker; bars go with the predictions."""
        folded = self.doors["folded"]
        return (
            sum(self.doors.values()) == self._count
            and self.rows["features"] == folded == self.rows["predictions"]
            and self._stages.last["clickhouse"] > self._stages.last["blocks"]
            and self._written() == folded
        )

    def folded(self) -> Folded:
        """The run, once it is stored."""
        assert self.begin is not None
        assert self.end is not None
        spent, last, begin = self._stages.spent, self._stages.last, self.begin
        return Folded(
            records=self._count,
            folded=round(self.doors["folded"]),
            seconds=self.end.at - begin.at,
            read_seconds=max(last["blocks"], last["predictions"], last["latest"]) - begin.at,
            stages={stage: spent[stage] for stage in (*STAGES, *BESIDE)},
            cpu={name: self.end.cpu[name] - begin.cpu.get(name, 0.0) for name in self.end.cpu},
        )

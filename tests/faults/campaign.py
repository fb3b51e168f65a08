"""One run: kill by the schedule, measure how long each part takes to work again, then judge the history."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from infra.composition import ShardMaker, rules
from infra.settings import Fold
from processors.sessions import Sessions
from schemas.events import Control, Heartbeat
from tests.faults.bench import PARTITIONS, Bench
from tests.faults.checker import Checker, Findings
from tests.faults.doors import judged
from tests.faults.generator import Notes
from tests.faults.log_records import read
from tests.faults.market import NS, Said, identity
from tests.faults.raw_rows import RawRows
from tests.faults.recovered import Probes
from tests.faults.reference import compare
from tests.faults.schedule import Step
from tests.faults.up import poll

TIDY_EVERY: Final = 15
"""Steps between two times that the engine may merge."""
RECOVERY_WITHIN_S: Final = 240.0
STORED_WITHIN_S: Final = 300.0
EVENTS: Final = "market.events.v1"
PREDICTIONS: Final = "signals.predictions.v1"


@dataclass
class Outcome:
    """What a run came to."""

    recovery_s: list[tuple[str, float]] = field(default_factory=list)
    """(kind of step, seconds)."""
    found: Findings = field(default_factory=Findings)
    kills: int = 0
    missed: int = 0
    """Failpoints that were not reached."""
    starts: int = 0
    """Of the generator."""
    verified: dict[str, Any] = field(default_factory=dict)
    """What `tickwire verify` says of the same history."""

    def as_dict(self) -> dict[str, Any]:
        """For the line and the JSON; seconds rounded to milliseconds."""
        seconds = [s for _, s in self.recovery_s]
        p50, p95 = np.percentile(seconds, [50, 95]).tolist() if seconds else (0.0, 0.0)
        found = self.found
        slowest: dict[str, float] = {}
        for kind, each in self.recovery_s:
            slowest[kind] = round(max(slowest.get(kind, 0.0), each), 3)
        return {
            "events": found.events, "kills": self.kills, "lost": found.lost, "duplicate": found.duplicate,
            "wrong": found.wrong, "mismatched_feature_bits": found.mismatched_feature_bits, "gaps": found.gaps,
            "recovery_p50": round(p50, 3), "recovery_p95": round(p95, 3), "recovery_max": round(max(seconds, default=0), 3),
            "recovery_max_by_kind": slowest, "missed_failpoints": self.missed, "generator_starts": self.starts,
            "details": dict(found.details), "verify": self.verified,
        }  # fmt: skip


class Campaign:
    """Kills on one bench. `said`: told what happens, in a sentence."""

    def __init__(self, bench: Bench, said: Callable[[Step, float], None]) -> None:
        self._bench, self._said = bench, said
        self._probes = Probes(bench.up)
        self.outcome = Outcome()

    def run(self, steps: Sequence[Step]) -> Outcome:
        """All steps, the end of the load, and the verdict."""
        self._recovery(Step("start", ("news",), 0), time.time_ns())
        self.outcome.recovery_s.clear()
        self._raw(RawRows.freeze)
        for number, step in enumerate(steps, 1):
            self._said(step, self._step(step))
            if number % TIDY_EVERY == 0:
                self._raw(lambda rows: rows.tidy(self.outcome.found))
        self._bench.until_all_replicas()
        self._bench.close_market()
        self.outcome.starts = self._bench.book.read().starts
        self.outcome.found.join(judge(self._bench))
        self.outcome.verified = self._bench.up.verified(self.outcome.kills)
        return self.outcome

    def _step(self, step: Step) -> float:
        up = self._bench.up
        if any(victim.startswith("broker") for victim in step.victims):
            self._bench.until_all_replicas()
        self._pause(max(step.after_s, up.wait_s(step.victims, step.kills)))
        if step.failpoint:
            self.outcome.missed += not up.score_that_fails(step.failpoint)
        else:
            self._bench.kill(step.victims)
        since = time.time_ns()
        if step.again_after_s is not None:
            self._pause(step.again_after_s)
            self._bench.kill(step.victims)
            since = time.time_ns()
        self.outcome.kills += step.kills
        return self._recovery(step, since)

    def _raw(self, do: Callable[[RawRows], None]) -> None:
        database = self._bench.up.database()
        try:
            do(RawRows(database))
        finally:
            database.close()

    def _recovery(self, step: Step, since: int) -> float:
        began = time.time_ns()
        for seen in self._probes.of(step.victims):
            reached = poll(lambda seen=seen: self._tended() and seen(since), RECOVERY_WITHIN_S)  # type: ignore[misc]
            assert reached is not None, f"{step}: not working again after {RECOVERY_WITHIN_S:.0f} s ({seen.__name__})"
        waited_before = 0 if "up" in step.victims else began - since
        took = (time.time_ns() - began + waited_before) / NS
        self.outcome.recovery_s.append((step.kind, took))
        return took

    def _tended(self) -> bool:
        self._bench.tend()
        return True

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._bench.tend()
            time.sleep(0.02)


def judge(bench: Bench) -> Findings:
    """Wait until everything is stored, and hold all of it against the log."""
    database = bench.up.database()
    notes = bench.book.read()
    try:
        until_stored(bench)
        log = read(bench.kafka.bootstrap, EVENTS, PARTITIONS)
        ((log_id,),) = database.rows("SELECT DISTINCT log_id FROM predictions").rows
        doors = {partition: judged(records) for partition, records in log.items()}
        checker = Checker(database, log_id, doors)
        checker.acknowledged(*acknowledged(notes))
        checker.records()
        checker.ledger()
        checker.messages(bench.kafka.bootstrap, PREDICTIONS)
        compare(database, log_id, log, ShardMaker(rules(Fold()), Sessions(), None), checker.found)
        return checker.found
    finally:
        database.close()


def acknowledged(notes: Notes) -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """(identities that must be on the log, those that must be in every partition)."""
    said: list[Said] = [each for block in range(notes.blocks) for each in notes.market.block(block)]
    said += notes.market.closing(notes.blocks) if notes.closed else []
    broadcast = [each for each in said if isinstance(each, Heartbeat | Control)]
    return {identity(each) for each in said}, {identity(each) for each in broadcast}


def until_stored(bench: Bench) -> None:
    """Wait until the last record of every partition has its prediction, and nothing is added any more."""
    from infra.kafka_log import end_offsets  # noqa: PLC0415

    def all_there() -> bool:
        ends = {partition: high - 1 for partition, (_, high) in end_offsets(bench.kafka).items()}
        stored = bench.up.database()
        try:
            sums = [
                dict(stored.rows(f"SELECT src_partition, max(src_offset) FROM {table} GROUP BY 1").rows)
                for table in ("features", "predictions", "trades")
            ]
        finally:
            stored.close()
        return sums[0] == sums[1] == ends and all(ends[p] - o <= 2 * 24 for p, o in sums[2].items())

    steady = 0
    deadline = time.monotonic() + STORED_WITHIN_S
    while steady < 4:  # four times in a row, half a second apart: rows are stored every half second
        assert time.monotonic() < deadline, f"not everything was stored within {STORED_WITHIN_S:.0f} s"
        steady = steady + 1 if all_there() else 0
        time.sleep(0.5)

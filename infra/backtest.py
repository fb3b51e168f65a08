"""`tickwire rules backtest` put together: the log of one installation, read and never written, through the fold with one rule."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import KafkaException

from infra.archive import refuse_gaps
from infra.clickhouse import Database, connect
from infra.composition import ShardMaker, rules, sessions
from infra.log_identity import current_log, spans
from infra.models.shelf import model_of
from infra.nightly.fold import MatrixShards
from infra.nightly.reading import archive_of, archived_to, polls_of
from infra.rule_changes import vocabulary
from infra.served import ClickHouseServed
from infra.session_log import offsets_at
from infra.settings import Settings
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.rule_fields import needs_scores
from schemas.backtest import Backtest
from schemas.errors import InputError, LogError
from schemas.rules import Rule
from schemas.tables import tables
from streams.backtest import Trial
from streams.decode import decode
from streams.model_runs import ModelRuns

Bound = Mapping[int, int] | int | None
"""Offsets by partition, a time of the broker's clock in ns, or nothing."""
Told = Callable[[int, int], None]
"""(records folded, records in all)"""


@dataclass(frozen=True)
class Request:
    """A rule, the stretch that it is judged over, and how long that may take."""

    rule: Rule
    begin: Bound = None
    end: Bound = None
    within_s: float = 300.0


def backtest(settings: Settings, request: Request, told: Told = lambda *_: None) -> Backtest:
    """How often the rule would have fired. `settings` name the services.

    Raises `RuleError` for a rule that cannot be judged, `InputError` for bounds that are not on the log, `LogError`.
    """
    vocabulary(rules(settings.fold)).check(request.rule)
    try:
        return _Backtesting(settings, request, told).go()
    except KafkaException as error:
        raise LogError(f"Kafka at {settings.kafka.bootstrap} did not answer: {error.args[0].str()}") from error


def refuse_outside(
    request: Request, begins: Mapping[int, int], ends: Mapping[int, int], log: Mapping[int, tuple[int, int]]
) -> None:
    """`InputError` for times with nothing of the log between them: to have judged nothing is not to have fired never.

    begins, ends   what the times mean in offsets; `log`: first and next offset of each partition
    """
    if isinstance(request.begin, int) and all(begins[p] >= high for p, (_, high) in log.items()):
        raise InputError(f"expected a stretch on the log, which has no record of {_moment(request.begin)} or later")
    if isinstance(request.end, int) and all(ends[p] <= first for p, (first, _) in log.items()):
        raise InputError(f"expected a stretch on the log, which has no record from before {_moment(request.end)}")


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat()


class _Backtesting:
    def __init__(self, settings: Settings, request: Request, told: Told) -> None:
        self.settings, self.request, self.told = settings, request, told
        self.log, self.began, self.notes = current_log(settings.kafka), time.monotonic(), list[str]()
        self.held = spans(settings.kafka, self.log)
        self.trial = Trial(request.rule, self.log.log_id, self._go_on)
        self.done, self.total = 0, 0

    def go(self) -> Backtest:
        clickhouse = self.settings.clickhouse
        url, timeout_s = clickhouse.url.get_secret_value(), clickhouse.timeout.total_seconds()
        with closing(connect(url, timeout_s=timeout_s, name="tickwire-backtest")) as database:
            chosen = self._chosen(database)
            self.total = sum(end - first for first, _, end in chosen.values())
            for partition, (first, begin, end) in sorted(chosen.items()):
                runs = self._runs(database, partition)
                make = self._maker(runs)
                self.trial.fold(make(partition), self._stretches(partition, first, end), (begin, end), runs)
                if runs is not None and runs.why:
                    self.notes.append(f"partition {partition}: {runs.why}; a constant stands in for its scores")
        return self.trial.result(time.monotonic() - self.began, self.notes)

    def _go_on(self, records: int) -> bool:
        self.done += records
        self.told(self.done, self.total)
        return time.monotonic() - self.began < self.request.within_s

    def _maker(self, runs: ModelRuns | None) -> ShardMaker | MatrixShards:
        fold, calendars = rules(self.settings.fold), sessions(self.settings.fold)
        return MatrixShards(fold, calendars, learning=False) if runs is None else ShardMaker(fold, calendars, None)

    def _runs(self, database: Database, partition: int) -> ModelRuns | None:
        if not needs_scores(self.request.rule):
            return None
        declared = {table.name: table for table in tables(FEATURE_NAMES)}
        served = ClickHouseServed(database, self.settings.clickhouse.database, self.log.log_id, declared)
        return ModelRuns(served.runs(partition), lambda name: model_of(self.settings, name), FEATURES_ID)

    def _chosen(self, database: Database) -> dict[int, tuple[int, int, int]]:
        """Partition to where the fold begins, and the stretch that is judged; only where the rule's symbols are."""
        name, asked = self.settings.clickhouse.database, self.request
        begins, ends = (self._offsets(database, name, bound) for bound in (asked.begin, asked.end))
        refuse_outside(
            asked, begins, ends, {p: (min(low, self.log.start(p)), high) for p, (low, high) in self.held.items()}
        )
        named = {p for bound in (asked.begin, asked.end) if isinstance(bound, Mapping) for p in bound}
        there = self._partitions_of(database, name)
        found = {}
        for partition, (kept, high) in self.held.items():
            if (named and partition not in named) or (there and partition not in there):
                continue
            first = min(kept, self.log.start(partition))
            begin, end = begins.get(partition, first), ends.get(partition, high)
            if not first <= begin <= end <= high:
                raise InputError(
                    f"partition {partition}: expected a stretch within offsets {first} to {high}, found {begin} to {end}"
                )
            found[partition] = (first, begin, end)
        if not found:
            raise InputError(
                f"--from and --to name no partition of the log, which has {', '.join(map(str, self.held))}"
            )
        return found

    def _offsets(self, database: Database, name: str, bound: Bound) -> Mapping[int, int]:
        """Of a time: the first record that the topic has from then on, or that is stored where the topic begins later."""
        if not isinstance(bound, int):
            return bound or {}
        found = offsets_at(self.settings.kafka, bound // 1_000_000)
        kept = {
            p: high if (at := found[p]) is None else min(max(at, low), high) for p, (low, high) in self.held.items()
        }
        rows = database.rows(
            f"SELECT src_partition, min(src_offset) FROM `{name}`.features WHERE log_id = {{log:String}} "  # noqa: S608
            "AND ts_broker >= fromUnixTimestamp64Milli({ms:Int64}) GROUP BY src_partition",
            {"log": self.log.log_id, "ms": bound // 1_000_000},
        ).rows
        stored = {int(partition): int(offset) for partition, offset in rows}
        return {
            p: min(offset, stored.get(p, offset)) if offset == self.held[p][0] else offset for p, offset in kept.items()
        }

    def _partitions_of(self, database: Database, name: str) -> set[int]:
        """Where the rule's symbols are; none where it names none, or nothing of them is stored."""
        if not self.request.rule.symbols:
            return set()
        rows = database.rows(
            f"SELECT DISTINCT src_partition FROM `{name}`.features WHERE log_id = {{log:String}} "  # noqa: S608
            "AND has({symbols:Array(String)}, symbol)",
            {"log": self.log.log_id, "symbols": list(self.request.rule.symbols)},
        ).rows
        return {int(row[0]) for row in rows}

    def _stretches(self, partition: int, first: int, end: int) -> Iterator[LogStretch]:
        at, kafka = first, self.settings.kafka
        for stop in archived_to(lambda: spans(kafka, self.log)[partition][0], at, end):
            with archive_of(self.settings, self.log.log_id, None) as archive:
                for part in archive.read(partition, at, stop):
                    refuse_gaps(partition, list(part.missing))
                    if len(part.stretch.events) or part.stretch.rejected:
                        yield part.stretch
            at = stop
        yield from map(decode, polls_of(self.settings, self.log, partition, at, end))

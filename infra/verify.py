"""`tickwire verify` put together: the log, ClickHouse, Redis and the models of one installation, read and never written."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import redis
from confluent_kafka import KafkaException

from infra.archive import ClickHouseArchive
from infra.clickhouse import connect
from infra.clock import WallClock
from infra.composition import ShardMaker, calendars, rules, sessions
from infra.drained import Drained
from infra.judged import confirm_judged
from infra.judged_range import Request, check_range
from infra.log_identity import LogIdentity, all_logs, reader_of, spans
from infra.models.shelf import model_of
from infra.redis import LatestStore
from infra.served import ClickHouseServed
from infra.session_log import SessionLog, stored_offset
from infra.settings import Settings
from infra.status import RedisStatus
from infra.telemetry import Telemetry
from infra.trade_history import ClickHouseTradeHistory
from models.onnx import TOLERANCE
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import LogError, StoreUnavailable
from schemas.tables import tables
from streams.blocks import STORE_EVERY_S
from streams.capture import FeedCheck
from streams.messages import MessageMaker
from streams.newest_check import NewestRead
from streams.revisions import Reviser
from streams.rows import RowMaker
from streams.settled import Patience, settled
from streams.verdict import Verdict
from streams.verify import Parts, Plan, Verification, sure_after

PER_EVENT: Final = ("features", "predictions")
"""Tables that have a row of every folded record."""
SLACK_S: Final = 1.0
Told = Callable[[int, int], None]
"""(records folded, records in all)"""


def verify(settings: Settings, request: Request | None = None, told: Told = lambda *_: None) -> Verdict:
    """Fold the log afresh and compare everything that was served with it.

    `settings` name the services (`infra.instance.attached`). Raises a `TickwireError` where it could not be done: a log that
    has passed out of reach, a service that does not answer.
    """
    try:
        return _Verifying(settings, request or Request(), told).go()
    except KafkaException as error:
        raise LogError(
            f"Kafka at {settings.kafka.bootstrap} did not answer: {error.args[0].str()}; is it running?"
        ) from error


class _Verifying:
    def __init__(self, settings: Settings, request: Request, told: Told) -> None:
        self.settings, self.request, self.told = settings, request, told
        self.clock = WallClock()
        self.log = _chosen(all_logs(settings.kafka), request.log_id)
        self.verdict = Verdict(self.log.log_id)
        self.settle_s = 2 * settings.fold.epoch.total_seconds() + STORE_EVERY_S + SLACK_S
        clickhouse = settings.clickhouse
        self.database = connect(
            clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds(), name="tickwire-verify"
        )
        declared = {table.name: table for table in tables(FEATURE_NAMES)}
        self.served = ClickHouseServed(self.database, clickhouse.database, self.log.log_id, declared)
        self.archive = ClickHouseArchive(self.database, clickhouse.database, self.log.log_id)
        self.redis = redis.Redis.from_url(settings.redis.url.get_secret_value(), socket_timeout=5)

    def go(self) -> Verdict:
        """Everything, partition by partition."""
        feed = None if self.request.capture is None else FeedCheck(self.log.log_id, self.verdict)
        try:
            plans, newest = self._plans()
            parts = self._parts(newest, {plan.partition: plan.position - 1 for plan in plans})
            if feed and self.request.capture:
                with self.request.capture.open("rb") as lines:
                    feed.read(lines)
            done, total = 0, sum(max(0, plan.end - plan.first) for plan in plans)

            def on_progress(records: int) -> None:
                nonlocal done
                done += records
                self.told(min(done, total), total)

            verification = Verification(parts, self.verdict, feed, on_progress)
            for plan in plans:
                verification.check(plan)
            self._check_view()
        finally:
            if feed:
                feed.close()
            self.database.close()
            self.redis.close()
        return self.verdict

    def _parts(self, newest: NewestRead | None, stored: Mapping[int, int]) -> Parts:
        settings, fold = self.settings, rules(self.settings.fold)
        kinds = [kind.name for kind in fold.bars]
        common = (self.log.log_id, FEATURE_NAMES, FEATURES_ID, kinds)
        log = reader_of(settings.kafka, self.log)
        history = ClickHouseTradeHistory(self.database, settings.clickhouse.database, self.log.log_id)
        return Parts(
            read=log.open,
            archive=self.archive.read,
            make=ShardMaker(fold, sessions(settings.fold, calendars(settings)), None),
            revise=Reviser(fold.bars, history, stored.__getitem__, Telemetry()),
            load=lambda onnx_id: model_of(settings, onnx_id),
            served=self.served,
            newest=newest,
            rows=RowMaker(*common),
            messages=MessageMaker(*common),
            tables=tuple(self.served.tables),
            clock=self.clock,
            tolerance=0.0 if settings.models.provider == "cpu" else TOLERANCE,
            sure_after_ns=sure_after(self.clock, self.settle_s),
        )

    def _plans(self) -> tuple[list[Plan], NewestRead | None]:
        """What of each partition is judged, once it must be stored; what Redis says is read in between."""
        found = spans(self.settings.kafka, self.log)
        current = self.log.ends is None
        ends = {partition: end for partition, (_, end) in found.items()}
        sure = self._sure(ends) if current else self._drained(ends)
        begins, bounds = self._bounds(self.request.begin, found), self._bounds(self.request.end, found)
        if begins or bounds:
            reach = {partition: (self.log.start(partition), end) for partition, end in ends.items()}
            check_range(self.request, begins, bounds, reach)
        newest = self._newest() if current and not bounds else None
        plans = []
        for partition, (kept, end) in sorted(found.items()):
            if self._named() and partition not in self._named():
                continue
            first = self._first(partition, kept)
            judged = sure.get(partition, min(end, self._stored_to(partition)))
            if judged < end:
                self.verdict.notes.append(
                    f"partition {partition}: records {judged} to {end - 1} are not judged: "
                    "nobody has said that they are stored"
                )
            bound = bounds.get(partition)
            plans.append(
                Plan(
                    partition, first, kept, max(first, begins.get(partition, first)),
                    judged if bound is None else min(judged, bound), judged,
                )
            )  # fmt: skip
        asked = {p: min(end, bounds.get(p, end)) for p, (kept, end) in found.items() if kept < end}
        confirm_judged(plans, asked, sure, self.served.folded)
        return plans, newest

    def _sure(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Partition to where everything must be stored, by those who score; left out where nobody does."""
        patience = Patience(self.settle_s, self.request.patience_s)
        return settled(RedisStatus(self.redis), self.clock, self.log.log_id, ends, patience)

    def _drained(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """The same of a closed log: its end, where a mark beside our state says that it was folded to there."""
        left = Drained(self.settings.data / "recovery").unfinished(self.log, ends)
        return {partition: end for partition, end in ends.items() if partition not in left}

    def _stored_to(self, partition: int) -> int:
        return min(self.served.stored_to(table, partition) for table in PER_EVENT)

    def _first(self, partition: int, kept: int) -> int:
        """Where the fold began: what the topic no longer has comes from its rows."""
        start = self.log.start(partition)
        if kept <= start:
            return kept
        self.verdict.notes.append(
            f"partition {partition}: records {start} to {kept - 1} have passed out of the topic's retention; they were folded "
            "again from the rows that ClickHouse has of them"
        )
        return start

    def _newest(self) -> NewestRead:
        settings = self.settings.redis
        store = LatestStore(settings.url.get_secret_value(), ttl_s=settings.ttl.total_seconds(), timeout_s=5)
        try:
            found = {symbol: store.read(symbol) for symbol in store.symbols()}
            info = self.redis.info()
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis did not answer when asked about itself: {error}") from error
        finally:
            store.close()
        now_ms = self.clock.now_ns() // 1_000_000
        kept_since = max(
            now_ms - 1000 * int(info["uptime_in_seconds"]), now_ms - round(1000 * settings.ttl.total_seconds())
        )
        evicted = int(info.get("evicted_keys", 0)) > 0
        return NewestRead({symbol: row for symbol, row in found.items() if row}, now_ms if evicted else kept_since)

    def _check_view(self) -> None:
        found = self.served.not_newest()
        if found:  # a revision may have come between the two halves of the question
            self.clock.sleep(SLACK_S)
            again = {row[:3] for row in self.served.not_newest()}
            found = [row for row in found if row[:3] in again]
        for symbol, kind, start, times, shown, newest in found:
            self.verdict.wrong += 1
            self.verdict.find(
                "differs",
                "bars_latest",
                -1,
                start,
                f"{symbol} {kind}",
                f"rev {newest} once",
                f"rev {shown}, {times} times",
            )

    def _named(self) -> set[int]:
        """Partitions that bounds were given for by number; no other is looked at."""
        given = (self.request.begin, self.request.end)
        return {partition for bound in given if isinstance(bound, Mapping) for partition in bound}

    def _bounds(self, wanted: Mapping[int, int] | int | None, held: Mapping[int, tuple[int, int]]) -> Mapping[int, int]:
        """In offsets. Of a time that retention has passed, what is stored says where it was."""
        if not isinstance(wanted, int):
            return wanted or {}
        log = (self.settings.clickhouse.database, self.log.log_id)
        stored = SessionLog(self.settings.kafka, self.log, partial(stored_offset, self.database, log))
        return stored.at(held, wanted)


def _chosen(logs: Sequence[LogIdentity], log_id: str) -> LogIdentity:
    if not log_id:
        return logs[-1]
    for log in logs:
        if log.log_id == log_id:
            return log
    raise LogError(f"--log: expected one of {', '.join(log.log_id for log in logs)}, was {log_id}")

"""Take one protection out of the scoring process, and the checker reports it; put it back, and the same faults do nothing."""

import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import redis
from msgspec.structs import replace

from infra.clickhouse import Database, connect
from infra.embedded.services import Embedded
from infra.kafka_log import end_offsets
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.rows import SCORE_STATUS_KEY, ScoreStatus
from schemas.topics import EVENTS
from tests.faults.broken import GROUP, POLL, REBUILD
from tests.faults.checker import PER_RECORD, Checker, Findings
from tests.faults.children import Child
from tests.faults.doors import judged
from tests.faults.log_records import read
from tests.faults.market import BLOCK, NS, Garbage, Market, Said
from tests.faults.raw_rows import RawRows
from tests.product.running import environment
from tests.services.flows import fresh_topics
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]
PARTITIONS = 2
PATIENCE_S = 150.0
NEWEST = "SELECT src_partition, max(src_offset) FROM predictions GROUP BY 1"
BLOCKS = 80
POLLS = ("40", "90", "60", "130")
"""Records of a poll, at each start: what is replayed is cut otherwise."""


@pytest.fixture(scope="module")
def kafka(embedded: Embedded) -> Kafka:
    """A log of some thousand events."""
    kafka = Kafka(bootstrap=embedded.kafka, partitions=PARTITIONS)
    fresh_topics(kafka)
    writer, market = KafkaWriter(kafka), Market(5, time.time_ns() - 60 * NS, 2_000.0, PARTITIONS)
    said: list[Said] = [each for block in range(BLOCKS) for each in market.block(block)]
    for each in [*said, *market.closing(BLOCKS)]:
        if isinstance(each, Garbage):
            writer.send(EVENTS, each.partition, [("", each.raw)])
        else:
            writer.write([replace(each, ts_ingest=time.time_ns())])
    writer.flush()
    return kafka


@dataclass
class Trial:
    """A history of its own; scoring processes over it, each with a data directory of its own or a shared one."""

    embedded: Embedded
    kafka: Kafka
    folder: Path

    def __post_init__(self) -> None:
        self.database = f"t_{uuid.uuid4().hex[:12]}"
        self.children: list[Child] = []
        with closing(connect(self.embedded.clickhouse_url)) as database:
            create_tables(database, self.database, FEATURE_NAMES)
        with closing(self._connected()) as database:
            RawRows(database).freeze()

    def _connected(self) -> Database:
        return connect(f"{self.embedded.clickhouse_url}/{self.database}")

    def scoring(
        self, build: str, data: str = "data", *, poll: str = POLLS[0], fault: str = "", epoch: str = "0.1", **more: str
    ) -> Child:
        """Started; `more` into its environment."""
        settings = {
            "TICKWIRE_KAFKA__BOOTSTRAP": self.kafka.bootstrap, "TICKWIRE_KAFKA__PARTITIONS": str(PARTITIONS),
            "TICKWIRE_KAFKA__LOG_ID": self.embedded.log_id, "TICKWIRE_CLICKHOUSE__URL": self.embedded.clickhouse_url,
            "TICKWIRE_CLICKHOUSE__DATABASE": self.database, "TICKWIRE_REDIS__URL": self.embedded.redis_url,
            "TICKWIRE_FOLD__EPOCH": epoch, "TICKWIRE_FOLD__LEASE": "2",
        }  # fmt: skip
        group = f"{self.database}-{len(self.children)}"
        env = environment(self.folder / data, **settings) | {POLL: poll, "FP": fault, GROUP: group} | more
        command = [sys.executable, "-m", "tests.faults.broken", build]
        child = Child("score", command, self.folder / f"{data}.log", env)
        self.children.append(child)
        child.start()
        return child

    def dies(self, child: Child) -> None:
        """Of its fault, not of anything else."""
        assert child.process is not None
        assert child.process.wait(PATIENCE_S) == -signal.SIGKILL, child.tail()

    def stops(self, child: Child) -> None:
        """At its fault: it is still there, and does nothing."""
        assert child.process is not None
        stat = Path(f"/proc/{child.process.pid}/stat")
        until("stopping", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", within_s=PATIENCE_S)

    def settles(self, child: Child) -> None:
        """Until the log is folded to its end, and no row has been added for two seconds."""
        ends = {str(partition): high for partition, (_, high) in end_offsets(self.kafka).items()}
        counted: list[tuple[object, ...]] = []
        since = time.monotonic()

        def settled() -> bool:
            nonlocal counted, since
            assert child.running, child.tail()
            told = sorted(self.rows(" UNION ALL ".join(f"SELECT '{t}', count() FROM {t}" for t in self.tables())))
            if told != counted:
                counted, since = told, time.monotonic()
            newest = {str(p): int(str(at)) + 1 for p, at in self.rows(NEWEST)}
            return ends in (self._folded(child), newest) and time.monotonic() - since > 2

        until("everything being stored", settled, within_s=PATIENCE_S, every_s=0.1)

    def _folded(self, child: Child) -> dict[str, int]:
        """Partition to the next offset to fold, as this process says of itself."""
        with closing(redis.Redis.from_url(self.embedded.redis_url)) as client:
            raw = client.get(SCORE_STATUS_KEY.format(group=child.env[GROUP]))
        return {} if raw is None else msgspec.json.decode(raw, type=ScoreStatus).offsets

    def tables(self) -> list[str]:
        """Those that are there and have a row for some record."""
        names = {name for (name,) in self.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
        return [table for table in (*PER_RECORD, "features", "predictions") if table in names]

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(self._connected()) as database:
            return database.rows(sql).rows

    def verdict(self) -> Findings:
        """Of the checker."""
        log = {
            partition: judged(records)
            for partition, records in read(self.kafka.bootstrap, EVENTS.name, PARTITIONS).items()
        }
        with closing(self._connected()) as database:
            checker = Checker(database, self.embedded.log_id, log)
            checker.records()
            checker.ledger()
            return checker.found

    def close(self) -> None:
        for child in self.children:
            child.kill()
        with closing(connect(self.embedded.clickhouse_url)) as database:
            database.command(f"DROP DATABASE IF EXISTS `{self.database}`")


@pytest.fixture
def trial(embedded: Embedded, kafka: Kafka, tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(embedded, kafka, tmp_path)
    try:
        yield trial
    finally:
        trial.close()


@dataclass(frozen=True)
class Schedule:
    """Kills one after the other, each of a new process; then one that is left alone. Seconds between commits, in the last too."""

    faults: Sequence[str]
    epoch: str = "0.1"
    last_epoch: str = "0.1"
    last_fault: str = ""


def killed(trial: Trial, build: str, schedule: Schedule) -> Findings:
    """What the checker says afterwards."""
    for fault, poll in zip(schedule.faults, POLLS, strict=False):
        trial.dies(trial.scoring(build, poll=poll, fault=fault, epoch=schedule.epoch))
    poll = POLLS[len(schedule.faults)]
    last = trial.scoring(build, poll=poll, fault=schedule.last_fault, epoch=schedule.last_epoch)
    trial.settles(last)
    last.stop()
    return trial.verdict()


SLOW = Schedule(
    ("source.after_poll:sleep=0.02,sink.before_insert:sleep=0.2,sink.before_insert:kill@16",) * 3, epoch="0.05"
)  # no machine folds the log to its end before the last kill
LONGER = Schedule(
    ("source.after_poll:sleep=0.02,sink.after_insert:kill@100",),
    epoch="30",
    last_epoch="30",
    last_fault="source.after_poll:sleep=0.02",
)  # killed in an epoch of many blocks: of those that come again under their tokens only the first is looked for
AFTER_MANY = Schedule(("sink.after_insert:kill@100", "sink.after_insert:kill@50"), epoch="0.4")
UNDISTURBED = Schedule(())
BROKEN: Mapping[str, tuple[Schedule, str]] = {
    "stateless_sink": (SLOW, "lost"), "epoch_token": (LONGER, "lost"), "no_high_water": (AFTER_MANY, "duplicate"),
    "empty_max": (UNDISTURBED, "lost"),
}  # fmt: skip


@pytest.mark.parametrize("build", BROKEN)
def test_a_build_without_this_protection_is_caught(trial: Trial, build: str) -> None:
    schedule, what = BROKEN[build]
    found = killed(trial, build, schedule)
    assert getattr(found, what) > 0, found
    print(f"{build}: {dict(found.details)}")


@pytest.mark.parametrize("build", BROKEN)
def test_the_whole_build_under_the_same_faults_is_clean(trial: Trial, build: str) -> None:
    found = killed(trial, "none", BROKEN[build][0])
    assert found.events > BLOCKS * BLOCK
    assert found.clean, found


def woken(trial: Trial, build: str) -> tuple[Child, int]:
    """A writer stops in the middle, another one goes on from what it finds, and the first wakes up; rows of trades by then."""
    first = trial.scoring(build, "first", fault="sink.before_insert:stop@60")
    trial.stops(first)
    second = trial.scoring(build, "second", poll=POLLS[1], **{REBUILD: "yes"})
    trial.settles(second)
    ((stored,),) = trial.rows("SELECT count() FROM trades")
    first.send(signal.SIGCONT)
    return first, int(str(stored))


def test_a_writer_that_wakes_up_and_is_not_fenced_is_caught(trial: Trial) -> None:
    _, stored = woken(trial, "no_fencing")
    until("it writing again", lambda: trial.rows("SELECT count() FROM trades") != [(stored,)], within_s=PATIENCE_S)
    found = trial.verdict()
    assert found.duplicate > 0, found


def test_a_writer_that_wakes_up_ends_without_a_row(trial: Trial) -> None:
    first, stored = woken(trial, "none")
    assert first.process is not None
    assert first.process.wait(PATIENCE_S) == os.EX_TEMPFAIL, first.tail()
    assert trial.rows("SELECT count() FROM trades") == [(stored,)]
    found = trial.verdict()
    assert found.clean, found

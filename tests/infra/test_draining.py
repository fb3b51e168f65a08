"""The rest of a closed log: bad state is rebuilt, a disk that fails is not, and a flow that failed stores nothing more."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import infra.score
from infra.drained import Drained
from infra.draining import drain
from infra.kafka_log import KafkaLog
from infra.log_identity import LogIdentity
from infra.recovery import PART, RecoveryStore
from infra.settings import Kafka, Settings
from infra.start import Wanted
from infra.stopping import Stop
from schemas.errors import DiskError, LogError, RecoveryError
from streams.blocks import AT_ONCE, FEW, BlockBuffer
from tests.fakes import NoMeter
from tests.services.processes import until
from tests.streams.test_blocks import TABLES, Gate, Stretches, maker

CLOSED = LogIdentity(log_id="closed", ends={0: 100, 1: 0})
BAD = RecoveryError("part-0.sqlite3", "a SQLite file that is damaged")


def drained(data: Path, failures: list[Exception]) -> list[bool]:
    """For each fold whether it was to rebuild; it fails as told."""
    folds: list[bool] = []

    def fold(reader: KafkaLog, log: LogIdentity, wanted: Wanted) -> None:
        assert (reader.log_id, log.log_id, reader.gives_up) == ("closed", "closed", True)
        folds.append(wanted.rebuild)
        if failures:
            raise RuntimeError("Bytewax says") from failures.pop(0)

    settings = Settings.model_validate({"data": data, "kafka": Kafka(bootstrap="nowhere:1", partitions=2).model_dump()})
    try:
        assert drain(settings, [CLOSED], [0, 1], fold, Stop())
    except RuntimeError:
        assert Drained(data / "recovery").unfinished(CLOSED, [0, 1]) == [0]
        raise
    assert Drained(data / "recovery").unfinished(CLOSED, [0, 1]) == []
    return folds


def test_state_that_cannot_be_gone_on_from_is_rebuilt(tmp_path: Path) -> None:
    assert drained(tmp_path / "good", []) == [False]
    assert drained(tmp_path / "bad", [BAD]) == [False, True]


@pytest.mark.parametrize("failure", [DiskError("part-0.sqlite3", "a full disk"), LogError("the broker is away")])
def test_what_is_not_the_fault_of_the_state_ends_the_process(tmp_path: Path, failure: Exception) -> None:
    with pytest.raises(RuntimeError) as ended:
        drained(tmp_path, [failure])
    assert ended.value.__cause__ is failure


@pytest.mark.parametrize(
    ("code", "found"), [(sqlite3.SQLITE_FULL, "a full disk"), (sqlite3.SQLITE_IOERR_READ, "a disk that fails")]
)
def test_a_disk_that_cannot_be_read_at_the_start_is_no_damaged_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, found: str
) -> None:
    def fails(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    store = RecoveryStore(tmp_path / "recovery", "0", "log", "feedc0ffee12", "f1")
    store.make()
    monkeypatch.setattr(RecoveryStore, "_snapshots", fails)
    with pytest.raises(DiskError, match=f"{PART}: .*found {found} .*start again"):
        store.check(lambda _: None)


class Folding:
    """A scoring process whose rows are on their way while its flow fails."""

    def __init__(self, store: Gate) -> None:
        self.store = store
        self.settings = SimpleNamespace(kafka=Kafka(), fold=SimpleNamespace(epoch=None))
        self.auditor = self.watch = SimpleNamespace(run=lambda *_: None)
        self.buffer: BlockBuffer | None = None

    def computation(self) -> None: ...

    def tell(self, *_: object) -> None: ...

    def lag(self) -> dict[int, int]:
        return {}

    def change_models(self, *_: object) -> None: ...

    def flow(self, *_: object) -> Callable[[], None]:
        buffer = self.buffer = BlockBuffer(self.store, maker(), TABLES, NoMeter())
        log = Stretches()
        buffer.open(0)

        def run() -> None:
            buffer.add(log.next(FEW))
            until("inserts to be on their way", lambda: self.store.waiting == AT_ONCE, within_s=60)
            buffer.add(log.next(FEW))
            raise RuntimeError('SqliteFailure(Error { code: DiskFull, extended_code: 13 }, Some("disk is full"))')

        return run

    close = infra.score._Scoring.close


def test_a_flow_that_ended_of_its_disk_says_so_and_stores_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring: Any = Folding(Gate())
    monkeypatch.setattr(infra.score, "start", lambda *_: SimpleNamespace(path=tmp_path))
    monkeypatch.setattr(infra.score, "RecoveryConfig", lambda *_, **__: None)
    monkeypatch.setattr(infra.score, "run_main", lambda flow, **_: flow())
    monkeypatch.setattr(infra.score, "_learning", lambda: None)
    with pytest.raises(DiskError, match=r"found a full disk .*nothing is lost"):
        infra.score._go(scoring, CLOSED, Stop(), Wanted())
    assert len(scoring.store.inserts) == AT_ONCE
    assert not scoring.buffer._thread.is_alive()

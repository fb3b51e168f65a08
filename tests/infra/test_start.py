"""How scoring starts: what a person asked for is done once the last log is there, however often the process is killed before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.composition import ShardMaker
from infra.kafka_log import KafkaLog
from infra.rebuild import RebuildReport
from infra.recovery import RecoveryStore, ask_for_rebuild, request_path
from infra.settings import Kafka
from infra.start import Wanted, start
from processors.features import FEATURES_ID
from processors.sessions import Sessions
from processors.shard import FoldRules

STEP = "feedc0ffee12"


@contextmanager
def nothing(_: object) -> Iterator[None]:
    yield


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logs whose state was rebuilt, by ids."""
    found: list[str] = []

    def rebuild(computation: Any, store: RecoveryStore, *_: object) -> RebuildReport:
        found.append(computation.log.log_id)
        store.replace(lambda _: None)
        return RebuildReport()

    monkeypatch.setattr("infra.start.database_of", nothing)
    monkeypatch.setattr("infra.start._rebuild", rebuild)
    monkeypatch.setattr("infra.start._stored_ids", lambda *_: {FEATURES_ID})
    monkeypatch.setattr("infra.start._held", lambda *_: {})
    return found


def computation(data: Path, log_id: str, step: str = STEP) -> Any:
    log = KafkaLog(Kafka(), log_id, [0])
    make = ShardMaker(FoldRules(), Sessions(), None)
    return SimpleNamespace(settings=SimpleNamespace(data=data), group="0", log=log, step=step, make=make)


def left(data: Path, log_id: str, step: str = STEP) -> None:
    """State of an earlier run."""
    RecoveryStore(data / "recovery", "0", log_id, step, FEATURES_ID).make()


def test_a_rebuild_that_was_asked_for_is_not_done_with_a_closed_log(tmp_path: Path, rebuilt: list[str]) -> None:
    left(tmp_path, "closed")
    ask_for_rebuild(tmp_path)
    start(computation(tmp_path, "closed"), dict, Wanted(last=False))
    assert request_path(tmp_path).exists(), "killed here, the next start still has to do it"
    left(tmp_path, "open")
    start(computation(tmp_path, "open"), dict, Wanted())
    assert rebuilt == ["closed", "open"]
    assert not request_path(tmp_path).exists()


def test_a_changed_computation_asks_for_the_state_of_its_log_alone(tmp_path: Path, rebuilt: list[str]) -> None:
    left(tmp_path, "closed", "0ther0ther00")
    start(computation(tmp_path, "closed"), dict, Wanted(last=False))
    assert rebuilt == ["closed"]
    assert not request_path(tmp_path).exists()


def test_a_start_goes_on_from_the_state_that_a_killed_rebuild_had_put_aside(
    tmp_path: Path, rebuilt: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left(tmp_path, "open")
    store = RecoveryStore(tmp_path / "recovery", "0", "open", STEP, FEATURES_ID)
    (store.path / "ours").touch()
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".building":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        store.replace(lambda _: None)
    assert not store.path.exists()
    for _ in range(2):
        assert start(computation(tmp_path, "open"), dict, Wanted()).path == store.path
        assert (store.path / "ours").exists()
    assert rebuilt == []
    monkeypatch.undo()
    store.replace(lambda _: None)
    assert not (store.path / "ours").exists()
    assert [path for path in store.root.iterdir() if path.is_dir()] == [store.path]

"""What a replay leaves behind is taken away whole, and a broker that does not know is not taken for a log without records."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cli import replay as command
from infra.replay import run
from infra.replay.run import ReplayOptions, replay_log, stretch
from infra.settings import Kafka, Settings
from schemas.errors import BackendError, InputError
from streams.span_text import Bound

KAFKA = Kafka(bootstrap="127.0.0.1:1", partitions=2)


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of replays whose topics were dropped."""
    names: list[str] = []
    for module in (command, run):
        monkeypatch.setattr(module, "drop_topics", lambda _, name: names.append(name), raising=False)
    return names


def test_topics_are_dropped_also_where_the_database_is_gone(
    dropped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def drop(self, name: str) -> None:
            raise InputError(f"--drop {name}: there is no replay of this name")

    monkeypatch.setattr(command, "attached", lambda settings: settings)
    monkeypatch.setattr(command, "_store", lambda _: Gone())
    with pytest.raises(InputError, match="no replay of this name"):
        command.drop(Settings(), "r")
    assert dropped == ["r"]
    with pytest.raises(InputError, match="expected a name"):
        command.drop(Settings(), "r; x")
    assert dropped == ["r"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_replay_in_place_of_another_has_no_topics_of_it_beside_it(
    dropped: list[str], monkeypatch: pytest.MonkeyPatch, *, replace: bool
) -> None:
    done: list[str] = []
    store = SimpleNamespace(make=lambda *_, **__: done.append(f"made after {dropped}"), note=done.append)
    running = SimpleNamespace(go=lambda *_: done.append("ran"))
    for name, fake in {
        "_connected": SimpleNamespace(close=lambda: None), "ReplayStore": store, "_Run": running, "_record": "record",
    }.items():  # fmt: skip
        monkeypatch.setattr(run, name, lambda *_, fake=fake: fake)
    monkeypatch.setattr("os.nice", lambda _: 0)
    log: Any = SimpleNamespace(log_id="log")
    replay_log(Settings(), log, [], ReplayOptions(into="r", replace=replace), lambda _: None, lambda: False)
    expected = ["r"] if replace else []
    assert (dropped, done) == (expected, [f"made after {expected}", "ran", "record"])


@dataclass
class Answer:
    partition: int
    offset: int = -1
    error: object = None


def answering(monkeypatch: pytest.MonkeyPatch, answers: Sequence[Answer]) -> None:
    consumer = SimpleNamespace(offsets_for_times=lambda *_, **__: answers, close=lambda: None)
    monkeypatch.setattr("infra.session_log.Consumer", lambda _: consumer)


def test_a_partition_without_an_answer_is_no_partition_without_records(monkeypatch: pytest.MonkeyPatch) -> None:
    held, options = {0: (0, 9), 1: (2, 9)}, ReplayOptions(into="r", first=Bound(at_ms=5))
    answering(monkeypatch, [Answer(0), Answer(1, error=SimpleNamespace(str=lambda: "not the leader"))])
    with pytest.raises(BackendError, match=r"\[1\]: not the leader"):
        stretch(KAFKA, held, options)
    answering(monkeypatch, [Answer(0), Answer(1, 1)])
    assert [(span.first, span.end) for span in stretch(KAFKA, held, options)] == [(9, 9), (2, 9)]

"""From a night to the log: the state that a replay has learnt, refused before it is on the log where it is not that state."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

import infra.models.changes
from infra.cli import model_changes as command
from infra.cli.models import app
from infra.clickhouse import Result
from infra.composition import ShardMaker
from infra.models.warm_start import warm_changes
from infra.nightly.matrix_store import warm_path
from infra.nightly.plan import MANIFEST, Folded, MatrixManifest, canonical, replaced
from models.online import OnlineModel
from models.warm_start import warm_id, warmed
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.sessions import Sessions
from processors.shard import FoldRules
from schemas.control import MODELS, body_of, model_change
from schemas.errors import ModelError
from schemas.events import Control
from schemas.topics import EVENTS, Topic
from streams.decode import LARGEST, Poll, decode
from tests.infra.matrices import plan


def learnt(steps: int, seed: int = 0) -> bytes:
    model, rng = OnlineModel(FEATURE_NAMES), np.random.default_rng(seed)
    for _ in range(steps):
        model.learn(rng.normal(size=(64, len(FEATURE_NAMES))), (rng.random(64) > 0.5).astype(np.float64))
    return model.snapshot()


STATES = (learnt(3), learnt(0), learnt(5, seed=1))
"""Of partitions 0 to 2; partition 1 has learnt nothing."""


def night(directory: Path, states: tuple[bytes, ...] = STATES, **planned: Any) -> Path:
    """A finished night in which these states were learnt."""
    folded = []
    for partition, state in enumerate(states):
        replaced(warm_path(directory, partition), state)
        sha256 = hashlib.sha256(state).hexdigest()
        folded.append(Folded(partition=partition, records=9, doors={}, newest_ns=1, learner_sha256=sha256))
    made = msgspec.structs.replace(plan(len(states), warm_start=True), **planned)
    manifest = MatrixManifest(id=made.id, plan=made, rows=0, pieces=(), partitions=tuple(folded))
    replaced(directory / MANIFEST, canonical(manifest))
    return directory


def test_each_partition_gets_the_state_that_was_learnt_in_it_and_one_without_steps_is_left_alone(
    tmp_path: Path,
) -> None:
    changes = warm_changes(night(tmp_path), 4, by="a person", why="a new day")
    assert {partition: change.model for partition, change in changes.items()} == {
        0: warm_id(STATES[0]), 2: warm_id(STATES[2]),
    }  # fmt: skip
    assert changes[2].features_id == FEATURES_ID
    assert warmed(changes[2], FEATURE_NAMES, FEATURES_ID).snapshot() == STATES[2]


def test_a_change_survives_the_log_and_is_small_enough_for_it(tmp_path: Path) -> None:
    change = warm_changes(night(tmp_path), 4)[0]
    raw = EVENTS.encode(Control(topic=MODELS, id=change.model, ts_event=1, ts_ingest=1, body=body_of(change)))
    assert len(raw) < LARGEST // 4
    assert model_change(EVENTS.decode(raw).body) == change


@pytest.mark.parametrize("damage", [b"x", b""], ids=["altered", "emptied"])
def test_a_file_that_is_not_the_one_of_the_manifest_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = warm_path(night(tmp_path), 2)
    path.write_bytes(path.read_bytes()[:-1] + damage if damage else b"")
    with pytest.raises(ModelError, match=r"p02\.river: sha256 .* the file was altered or torn; make the night again"):
        warm_changes(tmp_path, 4)


def test_what_is_no_warm_start_of_this_stream_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no finished night; `tickwire nightly --warm-start` makes one"):
        warm_changes(tmp_path, 4)
    with pytest.raises(ModelError, match="is of a log with partition 2, this one has 2"):
        warm_changes(night(tmp_path / "wider"), 2)
    with pytest.raises(ModelError, match=f"was learnt on features 77ab, but the stream carries {FEATURES_ID}"):
        warm_changes(night(tmp_path / "other", features_id="77ab"), 4)
    with pytest.raises(ModelError, match="in no partition was one step learnt; take a longer night"):
        warm_changes(night(tmp_path / "short", (learnt(0),)), 4)
    with pytest.raises(ModelError, match="larger than the 24576 bytes"):
        warm_changes(night(tmp_path / "huge", (b"x" * 30_000,)), 4)
    cold = night(tmp_path / "cold")
    told = msgspec.json.decode((cold / MANIFEST).read_bytes())
    told["partitions"][0]["learner_sha256"] = ""
    (cold / MANIFEST).write_bytes(msgspec.json.encode(told))
    with pytest.raises(ModelError, match="nothing learnt along"):
        warm_changes(cold, 4)


@dataclass
class Log:
    """A broker and the tables behind it: what is sent is in force at offset 7 of its partition."""

    sent: dict[int, bytes] = field(default_factory=dict)
    flushed: bool = False

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        assert topic is EVENTS
        ((_, self.sent[partition]),) = messages

    def flush(self) -> None:
        self.flushed = True

    def rows(self, sql: str) -> Result:
        assert "model_changes" in sql
        return Result([], [], [(partition, 7, "") for partition in sorted(self.sent)])

    def close(self) -> None:
        pass


def test_the_command_puts_a_night_onto_the_log_and_the_fold_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    for name, value in (
        ("DATA", str(tmp_path)), ("KAFKA__BOOTSTRAP", "x:1"), ("CLICKHOUSE__URL", "http://x"), ("REDIS__URL", "redis://x"),
    ):  # fmt: skip
        monkeypatch.setenv(f"TICKWIRE_{name}", value)
    monkeypatch.setattr(infra.models.changes, "KafkaWriter", lambda kafka: log)
    monkeypatch.setattr(command, "connect", lambda url, timeout_s: log)
    done = CliRunner().invoke(app, ["warm", str(night(tmp_path / "night")), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["fence"] == {"0": 7, "2": 7}
    assert log.flushed
    (recorded,) = (tmp_path / "access" / "audit.jsonl").read_text().splitlines()
    assert json.loads(recorded)["what"] == "model warm"
    assert json.loads(recorded)["detail"] == {"night": str(tmp_path / "night")}
    for partition, raw in log.sent.items():
        shard = ShardMaker(FoldRules(), Sessions(), None)(partition)
        (told,) = shard.advance(decode(Poll(partition, [raw], [7], [1]))).changes
        assert (told.change.model, told.refused) == (warm_id(STATES[partition]), "")
        assert shard.learner.snapshot() == STATES[partition]

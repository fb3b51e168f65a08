"""A model behind a server scores beside ours by the log's word; whatever the server does, the flow and its replay go on."""

import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from infra.models.changes import ask
from infra.models.triton_shadow import TritonShadow, Unanswered, connected, live_model, remembered, replayed_model
from infra.models.watch import ModelWatch
from infra.settings import Kafka, Models, Settings
from models.manifest import Manifest
from models.onnx import OnnxModel
from processors.scores import LineUp, Model
from processors.shard import FoldRules, Shard, ShardOutput
from schemas.control import REMOTE, ModelChange, body_of
from schemas.errors import BackendError, ModelError
from schemas.events import Control, Event
from tests.fakes import ConstantModel, CountingLearner, NoMeter
from tests.infra.models.test_triton import Answer, as_json, binary, speaking
from tests.infra.product_models import ROWS, WIDTH, logistic, save
from tests.infra.served_models import models_in, served
from tests.logs import START, market, stretch

EVENTS = [event for event in market(600) if not isinstance(event, Control)]
CHANGE, TURN, LAST = 100, 250, 400
"""Events at which the model is challenged, its server turns bad, and the quarantine is on the log."""
BEGIN_S = 30.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    data = tmp_path_factory.mktemp("triton")
    return data, save(data / "models", logistic())


def settings_of(data: Path, url: str, timeout_s: float = 20.0) -> Settings:
    return Settings(
        data=data, models=Models(triton_url=SecretStr(url), triton_timeout=timeout_s),  # type: ignore[arg-type]
        kafka=Kafka(bootstrap="127.0.0.1:1"),
    )  # fmt: skip


def told_by(action: str, model: str) -> Control:
    change = ModelChange(action=action, model=model)  # type: ignore[arg-type]
    return Control(topic="models", id=model, ts_event=START, ts_ingest=START, body=body_of(change))


def log(model: str) -> list[Event]:
    changed = {CHANGE: "challenge", LAST: "quarantine"}
    out: list[Event] = []
    for at, event in enumerate(EVENTS):
        out += [told_by(changed[at], model)] if at in changed else []
        out.append(event)
    return out


def fold(
    load: Callable[[str], Model | None], model: str, at_turn: Callable[[], Any] = lambda: None
) -> list[ShardOutput]:
    """The log in stretches of ten, `at_turn` called on its way."""
    shard = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), rules=FoldRules(learn_every=16), load=load)
    outputs, events = [], log(model)
    for start in range(0, len(events), 10):
        if start == TURN:
            at_turn()
        outputs.append(shard.advance(stretch(events[start : start + 10], start)))
    return outputs


def challenged(outputs: Sequence[ShardOutput], model: str) -> dict[int, float]:
    """Offset of a row to the challenger's score."""
    found = {}
    for o in outputs:
        for r, event in enumerate(o.folded.tolist()):
            if model in o.scores.line_ups[o.scores.line_up[r]].challengers:
                found[int(o.stretch.offsets[event])] = float(o.scores.by_model[r, 2])
    return found


def seen(outputs: Sequence[ShardOutput]) -> list[tuple[float, LineUp]]:
    """What clients saw, and who scored it."""
    return [
        (float(p), o.scores.line_ups[number])
        for o in outputs
        for p, number in zip(o.scores.p_up, o.scores.line_up.tolist(), strict=True)
    ]


class Met:
    """Loads shadows as live does, and waits until each has met its server."""

    def __init__(self, settings: Settings, watch: ModelWatch) -> None:
        self.settings, self.watch, self.shadows = settings, watch, dict[str, TritonShadow]()

    def __call__(self, name: str) -> Model | None:
        if name not in self.shadows:
            found = live_model(self.settings, name, self.watch.fault)
            assert isinstance(found, TritonShadow)
            found.met(BEGIN_S)
            self.shadows[name] = found
        return self.shadows[name]


def watch() -> ModelWatch:
    return ModelWatch(Models(), NoMeter())


def test_a_server_scores_in_the_shadow_what_the_file_scores_from_the_fence_to_the_quarantine(
    models: tuple[Path, Manifest],
) -> None:
    data, manifest = models
    name = REMOTE + manifest.id
    with served(models_in(data / "models")) as address:
        settings = settings_of(data, f"http://{address}")
        connected(settings, name).close()
        load = Met(settings, watch())
        outputs = fold(load, name)
        load.shadows[name].close()
    found = challenged(outputs, name)
    file = OnnxModel.load(data / "models" / f"{manifest.id}.manifest.json")
    for o in outputs:
        offsets = o.stretch.offsets[o.folded].tolist()
        expected = dict(zip(offsets, file.score(np.ascontiguousarray(o.features.T)).tolist(), strict=True))
        assert all(found[offset] == expected[offset] for offset in offsets if offset in found)
    assert len(found) > 200
    assert min(found) > CHANGE
    assert max(found) < LAST + 2
    assert {float(p) for o in outputs for p in o.scores.p_up} == {0.6}


def good(rows: list[list[float]]) -> Answer:
    """The formula of `logistic`."""
    logit = 0.001 * np.nansum(np.array(rows), axis=1) + 0.25
    return binary("f", [len(rows), 1], (1.0 / (1.0 + np.exp(-logit))).tolist())


METADATA = {
    "name": "mine", "versions": ["1"], "platform": "onnxruntime_onnx",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, WIDTH]}],
    "outputs": [{"name": "p_up", "datatype": "FP32", "shape": [-1, 1]}],
}  # fmt: skip
TURNS: dict[str, tuple[Callable[[list[list[float]]], Answer], str]] = {
    "NaN": (lambda rows: binary("f", [len(rows), 1], [float("nan")] * len(rows)), "no probability"),
    "beyond 1": (lambda rows: as_json([1.5] * len(rows)), "no probability"),
    "an error": (lambda rows: (500, {}, b'{"error": "CUDA out of memory"}'), "with 500: CUDA out of memory"),
    "too few": (lambda rows: as_json([0.5]), r"scores of .*, got 1"),
    "too much": (lambda rows: (200, {}, b"x" * (2 << 20)), "more than 1048576 bytes"),
    "nonsense": (lambda rows: (200, {}, b"x"), "without an output"),
    "silent": (lambda rows: (time.sleep(6.0), good(rows))[1], "ReadTimeout|not done answering"),
}  # fmt: skip


@dataclass
class Server:
    """Answers that may be changed on the way."""

    infer: Callable[[list[list[float]]], Answer] = good

    def __call__(self, rows: list[list[float]]) -> Answer:
        return self.infer(rows)


@pytest.mark.parametrize("turn", TURNS)
def test_a_server_that_turns_bad_is_asked_no_more_and_quarantined_and_the_flow_goes_on(
    models: tuple[Path, Manifest], turn: str
) -> None:
    data, manifest = models
    name, watching = REMOTE + manifest.id, watch()
    wrong, why = TURNS[turn]
    server = Server()
    with speaking(server, METADATA) as url:
        load = Met(settings_of(data, url, timeout_s=3.0), watching)
        live = fold(load, name, lambda: setattr(server, "infer", wrong))
    found = challenged(live, name)
    assert all(np.isfinite(p) == (offset < TURN) for offset, p in found.items())
    assert any(offset >= TURN for offset in found)
    (change,) = watching.look(0, [name])
    assert (change.action, change.model, change.by) == ("quarantine", name, "score")
    assert re.search(why, change.why), change.why
    replay = fold(lambda each: replayed_model(settings_of(data, ""), each), name)
    assert seen(replay) == seen(live)
    assert [(c.change, c.refused) for o in replay for c in o.changes] == [
        (c.change, c.refused) for o in live for c in o.changes
    ]


def test_a_server_that_leaves_is_told_once_and_again_only_after_a_while(models: tuple[Path, Manifest]) -> None:
    data, manifest = models
    name, watching = REMOTE + manifest.id, watch()
    with served(models_in(data / "models")) as address:
        shadow = live_model(settings_of(data, f"http://{address}"), name, watching.fault)
        assert isinstance(shadow, TritonShadow)
        assert shadow.met(BEGIN_S)
    asked = []
    for _ in range(25):
        assert np.isnan(shadow.score(ROWS)).all()
        asked.append(len(watching.look(0, [name])))
    assert (sum(asked[:5]), sum(asked)) == (1, 3)


@pytest.mark.parametrize("away", ["no url", "nobody", "another model"])
def test_a_server_that_cannot_be_met_is_refused_to_a_person_and_quarantined_where_the_log_names_it(
    models: tuple[Path, Manifest], away: str
) -> None:
    data, manifest = models
    name, watching = REMOTE + manifest.id, watch()
    with socket.socket() as nobody, speaking(lambda rows: as_json([0.5] * len(rows)), METADATA) as other:
        nobody.bind(("127.0.0.1", 0))
        url = {"no url": "", "nobody": f"http://127.0.0.1:{nobody.getsockname()[1]}", "another model": other}[away]
        why = {
            "no url": "TICKWIRE_MODELS__TRITON_URL=http://HOST:8000 names one", "nobody": "does not answer",
            "another model": "canary row 0 must score",
        }[away]  # fmt: skip
        settings = settings_of(data, url, timeout_s=5.0)
        with pytest.raises((ModelError, BackendError), match=why):
            ask(settings, ModelChange(action="challenge", model=name))
        outputs = fold(Met(settings, watching), name)
    found = challenged(outputs, name)
    assert len(found) > 200
    assert np.isnan(list(found.values())).all()
    (change,) = watching.look(0, [name])
    assert (change.action, change.model) == ("quarantine", name)
    assert why in change.why


def test_what_is_not_here_or_is_not_for_shadows_is_refused_before_it_is_on_the_log(
    models: tuple[Path, Manifest],
) -> None:
    settings = settings_of(models[0], "http://127.0.0.1:1")
    with pytest.raises(
        ModelError, match=r"triton\.\S+ is scored by a server, which clients cannot wait for; it may only"
    ):
        ask(settings, ModelChange(action="promote", model=REMOTE + models[1].id))
    with pytest.raises(ModelError, match=r"mlp-000000000000\.manifest\.json: cannot be read"):
        ask(settings, ModelChange(action="challenge", model=REMOTE + "mlp-000000000000"))
    shard = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), load=Unanswered)
    (change,) = shard.advance(stretch([told_by("promote", "triton.m1")])).changes
    assert "may only challenge" in change.refused


def test_a_model_that_is_missing_is_looked_for_again_and_one_that_is_there_only_once() -> None:
    here: dict[str, Model] = {}
    asked: list[str] = []

    def load(name: str) -> Model | None:
        asked.append(name)
        return here.get(name)

    one = remembered(load)
    assert one("m1") is None
    here["m1"] = ConstantModel(0.5, "m1")
    assert one("m1") is one("m1") is here["m1"]
    assert asked == ["m1", "m1"]
    here["m1"] = ConstantModel(0.7, "m1")
    assert one("m1") is here["m1"], "nobody uses the former any more"
    assert asked == ["m1"] * 3

"""Whatever is wrong with a model, the command that a person would use says so, and the last good one goes on serving.

A model is tried in this very process here; that one that hangs or dies takes only its own along, `test_vetting` shows.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from infra.cli import model_shop
from infra.cli.models import app
from infra.composition import load_model
from infra.models import places, vetting
from infra.models.cache import FOLDER, ModelCache
from infra.models.trial import Answer, Question
from infra.models.trial_child import answer
from infra.models.triton_shadow import live_model
from infra.models.vetting import Vetting
from infra.models.watch import ROUNDS, ModelWatch
from infra.settings import Models, Settings
from models.manifest import Manifest, manifest_name
from models.onnx import OnnxModel
from models.registry import Run
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import FoldRules, Shard
from schemas.control import ModelChange, body_of
from schemas.errors import ModelError
from schemas.events import Control, Event
from tests.fakes import CountingLearner, NoMeter
from tests.infra.product_models import ROWS, WIDTH, logistic, manifest_of, save, slow
from tests.infra.registries import ListRegistry
from tests.infra.registries import model as three_columns
from tests.logs import START, market, stretch

GOOD, OTHER = logistic(), logistic(-1.0)
TOO_SLOW, SLOW = 10.0, slow(150_000)
"""Microseconds a row that are allowed here, and a model that takes some 50 to 150, by the machine."""


def tried_here(question: Question, model: str, within_s: float) -> Answer:
    found = answer(question)
    if found.refused:
        raise ModelError(found.refused)
    return found


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory whose model scores, with services that nobody answers at; afterwards that model still serves."""
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path))
    monkeypatch.setattr(vetting, "tried", tried_here)
    monkeypatch.setattr(places, "Vetting", partial(Vetting, max_row_us=TOO_SLOW))
    for name in ("KAFKA__BOOTSTRAP", "CLICKHOUSE__URL", "REDIS__URL"):
        scheme = {"KAFKA__BOOTSTRAP": "", "CLICKHOUSE__URL": "http://", "REDIS__URL": "redis://"}[name]
        monkeypatch.setenv(f"TICKWIRE_{name}", f"{scheme}127.0.0.1:1")
    serving = save(tmp_path / FOLDER, GOOD, "mlp")
    before = OnnxModel.load(tmp_path / FOLDER / "mlp.manifest.json").score(ROWS)
    yield tmp_path
    settings = Settings(data=tmp_path)
    for model in (load_model(settings), live_model(settings, serving.id, lambda *_: None)):
        assert model is not None
        assert model.id == serving.id
        assert model.score(ROWS).tobytes() == before.tobytes()


def said(*arguments: str) -> str:
    """Why a command failed; it must."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code != 0
    return f"{done.stdout} {done.exception}"


def models(data: Path) -> set[str]:
    return {path.name for path in (data / FOLDER).iterdir() if not path.name.startswith(".")}


# tickwire models register FILE


def renamed_input() -> bytes:
    model = onnx.load_from_string(GOOD)
    model.graph.input[0].name = "x"
    for node in model.graph.node:
        node.input[:] = ["x" if name == "features" else name for name in node.input]
    content: bytes = model.SerializeToString()
    return content


def elsewhere(tmp: Path) -> bytes:
    onnx.save_model(
        onnx.load_from_string(GOOD), tmp / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    return (tmp / "apart.onnx").read_bytes()


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (lambda _: GOOD[: len(GOOD) // 2], (), "not an ONNX file|a file that it cannot open"),
        (lambda _: renamed_input(), (), "expected one input 'features' of float32"),
        (lambda _: three_columns()[1], (), rf"expected one input 'features' of float32 \[None, {WIDTH}\]"),
        (elsewhere, (), "keeps tensors in other files"),
        (lambda _: GOOD, ("--name", "../../x"), "expected the name or id of a model"),
        (lambda _: SLOW, (), "µs a row in a batch of 1,024, 10 are allowed"),
    ],
    ids=["truncated", "another input", "another width", "tensors elsewhere", "a name that is a path", "slow"],
)  # fmt: skip
def test_a_file_that_is_no_model_of_ours_is_not_registered(
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    content: Callable[[Path], bytes],
    options: tuple[str, ...],
    reason: str,
) -> None:
    folder, before = tmp_path_factory.mktemp("theirs"), models(data)
    (folder / "theirs.onnx").write_bytes(content(folder))
    assert_says(said("register", str(folder / "theirs.onnx"), *options), reason)
    assert models(data) == before


def test_a_file_that_is_too_large_is_not_read(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_shop, "MAX_BYTES", 100)
    (tmp_path / "theirs.onnx").write_bytes(GOOD)
    assert_says(said("register", str(tmp_path / "theirs.onnx")), "larger than the 100 bytes")
    assert_says(said("register", str(tmp_path / "gone.onnx")), "cannot be read")
    assert_says(
        said("register", str(data / FOLDER / "mlp.manifest.json")), "nothing else is opened, least of all a pickle"
    )


def assert_says(found: str, reason: str) -> None:
    assert re.search(reason, found), found


# tickwire models pull champion


def flipped(run: Run) -> Run:
    middle = len(run.content) // 2
    return Run(run.manifest, run.content[:middle] + bytes([run.content[middle] ^ 1]) + run.content[middle + 1 :])


def saying(run: Run, **words: Any) -> Run:
    return Run(msgspec.structs.replace(run.manifest, **words), run.content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: Run(run.manifest, run.content[:-9]), "altered or torn"),
        (flipped, "altered or torn"),
        (lambda run: saying(run, size=1 << 40), "altered or torn"),
        (lambda run: saying(run, id="../../x"), "but its content and features are those of"),
        (lambda run: saying(run, canary=manifest_of(GOOD).canary), "canary row 0 must score"),
        (lambda run: Run(*three_columns()), "was built on features abc1, but the stream carries"),
        (lambda run: Run(manifest_of(SLOW), SLOW), "µs a row in a batch of 1,024, 10 are allowed"),
    ],
    ids=["truncated", "bit-flipped", "another size", "a path", "wrong answers", "another schema", "slow"],
)  # fmt: skip
def test_what_a_registry_gives_amiss_leaves_the_last_good_model(
    data: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Run], Run], reason: str
) -> None:
    registry = ListRegistry([Run(manifest_of(GOOD), GOOD)])
    registry.alias("champion", "1")
    cache = ModelCache(data / FOLDER, Vetting(FEATURE_NAMES, FEATURES_ID, max_row_us=TOO_SLOW))
    monkeypatch.setattr(model_shop, "opened", lambda _: (cache, registry))
    good = cache.pull(registry, "champion")
    before = models(data)
    registry.runs[0] = damage(Run(manifest_of(OTHER), OTHER))
    told = msgspec.json.decode(CliRunner().invoke(app, ["pull", "champion", "--json"]).stdout)
    assert (told["id"], told["path"]) == (good.model_id, str(good.path))
    assert_says(told["fault"], reason)
    assert models(data) == before


# tickwire models challenge ID, promote ID


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def link(path: Path) -> None:
    path.rename(path.parent.parent / "away.onnx")
    path.symlink_to(path.parent.parent / "away.onnx")


def enlarge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate((256 << 20) + 1)


def words(**changed: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (manifest,) = path.parent.glob("mine-*.manifest.json")
        told = msgspec.json.decode(manifest.read_bytes()) | changed
        manifest.write_bytes(msgspec.json.encode(told))

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "altered or torn"),
    "bit-flipped": (flip, "altered or torn"),
    "gone": (Path.unlink, "cannot be read"),
    "a link": (link, "is a symbolic link"),
    "oversized": (enlarge, "larger than the 268435456 bytes"),
    "path-traversing": (words(file="../../../etc/passwd"), "must be a plain file name beside the manifest"),
    "another schema": (words(features_id="77ab"), "was built on features 77ab"),
    "no manifest": (words(canary=1), "not a model manifest"),
}


@pytest.mark.parametrize("action", ["challenge", "promote"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_model_that_was_damaged_here_is_refused_before_it_is_on_the_log_and_at_the_fence(
    data: Path, capsys: pytest.CaptureFixture[str], how: str, action: str
) -> None:
    other = save(data / FOLDER, OTHER)
    damage, reason = DAMAGE[how]
    damage(data / FOLDER / other.file)
    done = CliRunner().invoke(app, [action, other.id])
    assert f"{other.id} is not among the models in" in str(done.exception)
    assert_says(done.stdout + capsys.readouterr().out, reason)
    (output,) = [serving(data).advance(stretch([told_by(action, other.id), *EVENTS]))]
    assert [c.refused for c in output.changes] == [f"{other.id} is not among the models here, or cannot be used"]
    assert {each.onnx[:4] for each in output.scores.line_ups} == {"mlp-"}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", ".."])
@pytest.mark.parametrize("action", ["challenge", "promote", "quarantine"])
def test_an_id_that_is_a_path_is_no_change_of_the_models(data: Path, action: str, name: str) -> None:
    assert_says(said(action, name), "not a change of the models")


# a model that was fine, and is slow

EVENTS: list[Event] = [event for event in market(600) if not isinstance(event, Control)]


def told_by(action: str, model: str) -> Control:
    change = ModelChange(action=action, model=model)  # type: ignore[arg-type]
    return said_by(change)


def said_by(change: ModelChange) -> Control:
    return Control(topic="models", id=change.model, ts_event=START, ts_ingest=START, body=body_of(change))


def serving(data: Path, watch: ModelWatch | None = None) -> Shard:
    """The fold as the scoring process makes it."""
    settings, watch = Settings(data=data), watch or ModelWatch(Models(), NoMeter())
    return Shard(
        0, CountingLearner(), watch.timed(load_model(settings)), rules=FoldRules(learn_every=16),
        load=lambda name: watch.timed(live_model(settings, name, watch.fault)),
    )  # fmt: skip


def test_a_model_that_is_slow_while_it_serves_is_quarantined_and_the_last_good_one_serves_again(data: Path) -> None:
    dawdler: Manifest = save(data / FOLDER, slow(20_000))
    watch = ModelWatch(Models(slowest_us=1.0), NoMeter())
    shard, at, asked = serving(data, watch), 0, []
    outputs = [shard.advance(stretch([told_by("promote", dawdler.id)]))]
    for _ in range(ROUNDS):
        outputs.append(shard.advance(stretch(EVENTS[at : at + 150], 1 + at)))
        at += 150
        asked += watch.look(0, ())
    assert {name for o in outputs[1:] for name in (o.scores.line_ups[-1].onnx,)} == {dawdler.id}
    (change,) = asked
    assert (change.action, change.model) == ("quarantine", dawdler.id)
    assert_says(change.why, r"us a row, at most 1 are allowed")
    after = shard.advance(stretch([said_by(change), *EVENTS[at : at + 50]], 1 + at))
    assert len(after.folded) > 20
    assert after.scores.line_ups[-1].onnx.startswith("mlp-")
    assert manifest_name(dawdler.id) in models(data)
    assert np.isfinite(after.scores.by_model[:, 1]).all()

"""The cache: what comes in is fit to score, what is in it stays, and a registry that fails takes nothing away."""

import os
from pathlib import Path

import msgspec
import pytest

from infra.models.cache import ModelCache
from models import manifest as manifests
from models.manifest import Manifest, manifest_name
from models.onnx import OnnxModel
from models.registry import Registry
from schemas.errors import ModelError
from tests.infra.registries import DOWN, FEATURES, NAMES, ListRegistry, model, run_of, tampered

FINE, CONTENT = model()


def vet(path: Path) -> OnnxModel:
    return OnnxModel.load(path, expected_features=NAMES, expected_features_id=FEATURES)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models", vet)


@pytest.fixture
def registry() -> ListRegistry:
    """Version 1 is the champion, version 2 has no name."""
    found = ListRegistry([run_of(0.25), run_of(0.5)])
    found.alias("champion", "1")
    return found


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "models").iterdir() if not path.name.startswith("."))


def test_a_model_is_kept_by_its_id_and_its_content_by_its_hash(cache: ModelCache, tmp_path: Path) -> None:
    path = cache.keep(FINE, CONTENT)
    assert files(tmp_path) == sorted([f"{FINE.sha256}.onnx", manifest_name(FINE.id)])
    assert cache.find(FINE.id) == path
    assert vet(path).id == FINE.id
    assert [(entry.model_id, entry.fault) for entry in cache.entries()] == [(FINE.id, "")]


def test_the_model_that_scores_is_not_touched(cache: ModelCache, tmp_path: Path) -> None:
    scoring = manifests.save(FINE, CONTENT, tmp_path / "models")
    told = scoring.read_bytes()
    other, content = model(0.5)
    cache.keep(msgspec.structs.replace(other, file=FINE.file), content)  # a manifest may name any file
    assert scoring.read_bytes() == told
    assert vet(scoring).id == FINE.id
    assert [entry.model_id for entry in cache.entries()] == sorted([FINE.id, other.id])


def test_what_the_trainer_saved_is_in_the_cache_too(cache: ModelCache, tmp_path: Path) -> None:
    manifests.save(FINE, CONTENT, tmp_path / "models")
    before = files(tmp_path)
    assert cache.keep(FINE, CONTENT) == cache.find(FINE.id)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "altered or torn"),
        ({"size": 1}, "expected 1 bytes"),
        ({"id": "mine-000000000000"}, "says mine-000000000000, but its content and features are those of mine-"),
        ({"features_id": "77ab"}, "but its content and features are those of"),
        ({"id": "../../x"}, "but its content and features"),
        ({"name": "../../x"}, "but its content and features"),
        ({"canary": model(0.5)[0].canary}, "canary row 0 must score"),
    ],
)
def test_what_is_not_what_it_says_leaves_no_trace(
    cache: ModelCache, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        cache.keep(msgspec.structs.replace(FINE, **changes), CONTENT)
    assert not (tmp_path / "models").exists() or files(tmp_path) == []


def test_a_name_that_leaves_the_folder_is_refused_also_under_its_own_id(cache: ModelCache, tmp_path: Path) -> None:
    made = manifests.content_id("../../x", CONTENT, NAMES, FEATURES)
    with pytest.raises(ModelError, match="expected the name or id of a model"):
        cache.keep(msgspec.structs.replace(FINE, name="../../x", id=made), CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    def other(path: Path) -> OnnxModel:
        return OnnxModel.load(path, expected_features=NAMES, expected_features_id="77ab")

    with pytest.raises(ModelError, match="was built on features abc1, but the stream carries 77ab"):
        ModelCache(tmp_path / "models", other).keep(FINE, CONTENT)
    assert files(tmp_path) == []


def test_a_model_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than the 100 bytes"):
        ModelCache(tmp_path / "models", vet, max_bytes=100).keep(FINE, CONTENT)


def damaged(tmp_path: Path, manifest: Manifest, how: str) -> None:
    path, content = tmp_path / "models" / manifest_name(manifest.id), tmp_path / "models" / f"{manifest.sha256}.onnx"
    if how == "flipped":
        content.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    elif how == "truncated":
        content.write_bytes(CONTENT[:40])
    elif how == "gone":
        content.unlink()
    elif how == "a torn manifest":
        path.write_bytes(path.read_bytes()[:40])
    elif how == "a linked manifest":
        path.rename(tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", path)
    elif how == "another's manifest":
        other, _ = model(0.5)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(other, file=content.name)))
    elif how == "out of the folder":
        (tmp_path / "x.onnx").write_bytes(CONTENT)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, file="../x.onnx")))


DAMAGE = (
    "flipped", "truncated", "gone", "a torn manifest", "a linked manifest", "another's manifest", "out of the folder",
)  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_entry_is_refused_and_told_and_mended_by_the_next_pull(
    cache: ModelCache, registry: ListRegistry, tmp_path: Path, how: str
) -> None:
    cache.keep(FINE, CONTENT)
    damaged(tmp_path, FINE, how)
    with pytest.raises(ModelError):
        cache.find(FINE.id)
    (entry,) = cache.verify()
    assert entry.model_id == FINE.id
    assert entry.fault
    assert vet(cache.pull(registry, FINE.id).path).id == FINE.id
    assert [entry.fault for entry in cache.verify()] == [""]


def test_verify_finds_a_model_whose_answers_have_changed(cache: ModelCache, tmp_path: Path) -> None:
    path = cache.keep(FINE, CONTENT)
    wrong = msgspec.structs.replace(manifests.load(path), canary=model(0.5)[0].canary)
    path.write_bytes(msgspec.json.encode(wrong))
    assert cache.entries()[0].fault == ""
    (entry,) = cache.verify()
    assert "canary row 0 must score" in entry.fault


def test_the_champion_is_pulled_and_remembered(cache: ModelCache, registry: ListRegistry) -> None:
    port: Registry = registry
    first = cache.pull(port, "champion")
    registry.alias("champion", "2")
    second = cache.pull(port, "champion")
    assert (first.model_id, second.model_id) == (run_of(0.25).manifest.id, run_of(0.5).manifest.id)
    assert cache.aliases() == {"champion": second.model_id}


def test_a_registry_that_is_down_leaves_the_last_good_model(cache: ModelCache, registry: ListRegistry) -> None:
    good = cache.pull(registry, "champion")
    registry.fault = DOWN
    found = cache.pull(registry, "champion")
    assert (found.model_id, found.path) == (good.model_id, good.path)
    assert found.fault == str(DOWN)
    assert vet(found.path).id == FINE.id


def test_a_tampered_model_leaves_the_last_good_one(cache: ModelCache, registry: ListRegistry, tmp_path: Path) -> None:
    good = cache.pull(registry, "champion")
    before = files(tmp_path)
    registry.runs[0] = tampered(run_of(0.5), id=FINE.id, sha256=FINE.sha256)
    found = cache.pull(registry, "champion")
    assert found.model_id == good.model_id
    assert "altered or torn" in found.fault
    assert files(tmp_path) == before


def test_without_a_last_good_model_the_fault_is_raised(cache: ModelCache, registry: ListRegistry) -> None:
    registry.fault = DOWN
    with pytest.raises(type(DOWN), match="connection refused"):
        cache.pull(registry, "champion")


def test_an_id_in_the_cache_is_not_asked_for_again(cache: ModelCache, registry: ListRegistry) -> None:
    cache.keep(FINE, CONTENT)
    asked = registry.asked
    assert cache.pull(registry, FINE.id).model_id == FINE.id
    assert registry.asked == asked


def test_another_model_than_the_one_asked_for_is_refused(cache: ModelCache, registry: ListRegistry) -> None:
    class Liar(ListRegistry):
        def _run(self, version: str) -> object:
            return self.runs[1]

    with pytest.raises(ModelError, match=f"asked for {FINE.id}, the registry gave mine-"):
        cache.pull(Liar(registry.runs), FINE.id)


@pytest.mark.parametrize("wanted", ["../../x", "/etc/passwd", "a/b", ""])
def test_an_id_that_is_a_path_is_refused(cache: ModelCache, registry: ListRegistry, wanted: str) -> None:
    with pytest.raises(ModelError):
        cache.pull(registry, wanted)
    with pytest.raises(ModelError, match="name or id of a model"):
        cache.find(wanted)


def test_a_crash_while_a_model_comes_in_leaves_the_others_and_is_cleared_away(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep(FINE, CONTENT)
    left = tmp_path / "models" / ".staging-of-a-killed-process"
    left.mkdir()
    (left / "x.onnx").write_bytes(CONTENT)
    other, content = model(0.5)
    rename = Path.replace

    def crash(source: Path, target: Path) -> Path:
        if target.parent.name == "models" and target.suffix == ".json":
            raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            cache.keep(other, content)
    assert not left.exists()
    assert [(entry.model_id, entry.fault) for entry in cache.entries()] == [(FINE.id, "")]
    assert vet(cache.keep(other, content)).id == other.id


def test_aliases_that_are_none_are_refused_by_their_file(cache: ModelCache, tmp_path: Path) -> None:
    cache.keep(FINE, CONTENT)
    (tmp_path / "models" / "aliases.json").write_bytes(b"[1]")
    with pytest.raises(ModelError, match=r"aliases\.json: not the aliases that were pulled"):
        cache.aliases()

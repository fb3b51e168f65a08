"""What a registry gives is bytes to be checked: whatever was done to them on the way, they are refused by what is wrong."""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from infra import registry as module
from infra.registry import MlflowRegistry, place_of, read_fetched
from models import manifest as manifests
from models.registry import RegistryUnavailable, Run
from schemas.errors import ModelError, SettingsError
from tests.infra.registries import model, run_of

MANIFEST, CONTENT = model()
ROOT = Path(__file__).parents[2]
MAX_BYTES = 1 << 20


def given(folder: Path) -> dict[str, str]:
    """Both files of the model as a registry gives them; what it was told of them when they were logged."""
    told = manifests.save(MANIFEST, CONTENT, folder)
    (folder / manifests.manifest_name(MANIFEST.id)).unlink()
    manifest_sha256 = hashlib.sha256(told.read_bytes()).hexdigest()
    return {"model_id": MANIFEST.id, "sha256": MANIFEST.sha256, "manifest_sha256": manifest_sha256}


def test_what_was_logged_is_read(tmp_path: Path) -> None:
    assert read_fetched(tmp_path, given(tmp_path), MAX_BYTES) == (MANIFEST, CONTENT)


def truncated(folder: Path) -> None:
    (folder / MANIFEST.file).write_bytes(CONTENT[:-1])


def flipped(folder: Path) -> None:
    (folder / MANIFEST.file).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))


def emptied(folder: Path) -> None:
    (folder / MANIFEST.file).write_bytes(b"")


def torn_manifest(folder: Path) -> None:
    path = folder / "mine.manifest.json"
    path.write_bytes(path.read_bytes()[:-20])


def reworded(folder: Path) -> None:
    said(folder, created_by="somebody else")


def traversing(folder: Path) -> None:
    said(folder, file="../../x.onnx")


def another_model(folder: Path) -> None:
    """Another model, whole and well described: only the registry's own record tells that it is not the one asked for."""
    for path in folder.iterdir():
        path.unlink()
    manifest, content = model(0.5)
    manifests.save(manifest, content, folder)
    (folder / manifests.manifest_name(manifest.id)).unlink()


def pickle_beside(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"\x80\x04.")


def pickle_instead(folder: Path) -> None:
    (folder / MANIFEST.file).rename(folder / "model.pkl")
    said(folder, file="model.pkl")


def linked(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.onnx"
    (folder / MANIFEST.file).rename(elsewhere)
    os.symlink(elsewhere, folder / MANIFEST.file)


def gone(folder: Path) -> None:
    (folder / MANIFEST.file).unlink()


def said(folder: Path, **changes: object) -> None:
    (folder / "mine.manifest.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(MANIFEST, **changes)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "altered or torn"),
        (flipped, "altered or torn"),
        (emptied, "altered or torn"),
        (torn_manifest, "not a model manifest"),
        (reworded, "manifest_sha256 .* they were altered; register the model anew"),
        (traversing, r"`file` must be a plain file name beside the manifest, got '../../x.onnx'"),
        (another_model, "the registry was told model_id"),
        (pickle_beside, r"expected a manifest and its \.onnx file, the registry gave .*model\.pkl"),
        (pickle_instead, r"expected a manifest and its \.onnx file, the registry gave .*model\.pkl"),
        (linked, r"expected a manifest and its \.onnx file"),
        (gone, r"expected a manifest and its \.onnx file"),
    ],
)
def test_what_was_altered_is_refused_with_the_reason(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    tags = given(folder)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        read_fetched(folder, tags, MAX_BYTES)


def test_a_model_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than the 100 bytes"):
        read_fetched(tmp_path, given(tmp_path), 100)


def test_a_report_cannot_be_written_elsewhere(tmp_path: Path) -> None:
    run = Run(MANIFEST, CONTENT, reports={"../../x.html": b""})
    with pytest.raises(ModelError, match="plain name of a report"):
        MlflowRegistry(place_of(tmp_path)).log(run)
    assert list(tmp_path.iterdir()) == []


def test_without_a_url_the_registry_is_a_file_of_ours(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    assert place.tracking == f"sqlite:///{tmp_path}/registry/mlflow.db"
    assert place.artifacts == f"file://{tmp_path}/registry/artifacts"
    assert MlflowRegistry(place).versions() == ()
    assert list(tmp_path.iterdir()) == []  # asking makes none


def test_a_password_is_told_to_the_child_alone(tmp_path: Path) -> None:
    place = place_of(tmp_path, SecretStr("https://ann:p%40ss@mlflow.example:8443/base/"))
    assert place.tracking == "https://mlflow.example:8443/base"
    assert place.secrets == {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "p@ss"}
    assert "p@ss" not in repr(place)


@pytest.mark.parametrize("url", ["file:///tmp/x", "databricks", "sqlite:///x.db", "https://"])
def test_another_kind_of_address_is_refused_by_its_setting(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="TICKWIRE_REGISTRY__URL: expected http"):
        place_of(tmp_path, SecretStr(url))


def test_without_mlflow_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RegistryUnavailable, match=r"pip install 'tickwire\[registry\]'; models in the cache score on"):
        MlflowRegistry(place_of(tmp_path)).fetch("champion")


def test_a_registry_that_is_too_slow_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match=r"no answer within 0\.01 s; models in the cache score on"):
        MlflowRegistry(place_of(tmp_path), timeout_s=0.01).log(run_of())


def test_neither_scoring_nor_serving_imports_mlflow() -> None:
    asked = (
        "import sys, infra.score, infra.api_process, infra.cli.main, infra.cli.processes, infra.cli.up, infra.models.shelf, "
        "infra.cli.models, infra.cli.model_shop; "
        "print([name for name in ('mlflow', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_one_file_alone_imports_mlflow_and_none_that_knows_models_imports_pickle() -> None:
    found = {
        (path.name, name)
        for package in ("schemas", "processors", "models", "streams", "api", "infra")
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path)
        if name in {"mlflow", "pickle", "cloudpickle", "dill", "joblib", "shelve"}
    }
    # recovery.py reads what Bytewax pickled, by an Unpickler that gives out nothing but bytes
    assert found == {("mlflow_child.py", "mlflow"), ("recovery.py", "pickle")}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found

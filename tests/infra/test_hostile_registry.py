"""MLflow's real client against registries that are down, slow, or mean: each is refused, and the cached model stays."""

import hashlib
import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.models.cache import ModelCache
from infra.registry import DATABASE, FOLDER, MlflowRegistry, place_of
from models import manifest as manifests
from models.onnx import OnnxModel
from models.registry import RegistryUnavailable
from schemas.errors import ModelError
from tests.infra.hostile_registry import Hostile, serving
from tests.infra.registries import model, run_of
from tests.services.processes import HOST, free_ports

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]
MANIFEST, CONTENT = model()
NAME = "mine.manifest.json"
SLOW_S = 300.0


def honest(folder: Path) -> Hostile:
    """One that gives what was logged; what a test changes of it is all that is wrong with it."""
    told = manifests.save(MANIFEST, CONTENT, folder / "honest").read_bytes()
    manifest_sha256 = hashlib.sha256(told).hexdigest()
    return Hostile(
        listed=[(NAME, len(told)), (MANIFEST.file, len(CONTENT))],
        contents={NAME: told, MANIFEST.file: CONTENT},
        tags={"model_id": MANIFEST.id, "sha256": MANIFEST.sha256, "manifest_sha256": manifest_sha256},
    )


def registry(url: str, folder: Path, *, timeout_s: float = SLOW_S, max_bytes: int = 1 << 20) -> MlflowRegistry:
    return MlflowRegistry(place_of(folder, SecretStr(url)), timeout_s=timeout_s, max_bytes=max_bytes)


def test_one_that_gives_what_was_logged_is_believed(tmp_path: Path) -> None:
    with serving(honest(tmp_path)) as url:
        fetched = registry(url, tmp_path).fetch("champion")
    assert (fetched.version, fetched.manifest, fetched.content) == ("1", MANIFEST, CONTENT)


def test_a_path_out_of_the_folder_is_not_even_asked_for(tmp_path: Path) -> None:
    hostile = honest(tmp_path)
    hostile.listed[1] = ("../../x.onnx", 160)
    with serving(hostile) as url, pytest.raises(ModelError, match=r"\.\./|[Ii]nvalid"):
        registry(url, tmp_path).fetch("champion")
    assert not [path for path in hostile.asked if path.endswith("x.onnx")]
    assert not list(tmp_path.rglob("x.onnx"))


def test_a_flipped_bit_on_the_way_is_refused_and_the_last_good_model_stays(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models", OnnxModel.load)
    good = cache.keep(MANIFEST, CONTENT)
    (tmp_path / "models" / "aliases.json").write_text(f'{{"champion": "{MANIFEST.id}"}}')
    hostile = honest(tmp_path)
    hostile.contents[MANIFEST.file] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with serving(hostile) as url:
        found = cache.pull(registry(url, tmp_path), "champion")
    assert found.path == good
    assert "altered or torn" in found.fault
    assert OnnxModel.load(found.path).id == MANIFEST.id


def test_a_file_announced_as_too_large_is_not_fetched(tmp_path: Path) -> None:
    hostile = honest(tmp_path)
    hostile.listed[1] = (MANIFEST.file, 1 << 40)
    with serving(hostile) as url, pytest.raises(ModelError, match=r"has 1099511627776 bytes, 1048576 are allowed"):
        registry(url, tmp_path).fetch("champion")
    assert not [path for path in hostile.asked if path.endswith(".onnx")]


def test_a_file_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    hostile = honest(tmp_path)
    hostile.endless = MANIFEST.file
    with (
        serving(hostile) as url,
        pytest.raises((ModelError, RegistryUnavailable), match=r"File too large|no answer|larger"),
    ):
        registry(url, tmp_path, timeout_s=60).fetch("champion")


def test_one_that_drips_is_given_up_in_time(tmp_path: Path) -> None:
    hostile = honest(tmp_path)
    hostile.drips = True
    with serving(hostile) as url, pytest.raises(RegistryUnavailable, match="no answer within 20 s"):
        registry(url, tmp_path, timeout_s=20).fetch("champion")


def test_one_that_talks_nonsense_is_unavailable(tmp_path: Path) -> None:
    hostile = honest(tmp_path)
    hostile.garbage = True
    with serving(hostile) as url, pytest.raises(RegistryUnavailable):
        registry(url, tmp_path).fetch("champion")


def test_one_that_is_down_is_unavailable(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(RegistryUnavailable, match=r"models in the cache score on"):
        registry(f"http://{HOST}:{port}", tmp_path).fetch("champion")


def test_a_database_that_is_none_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / DATABASE).write_bytes(b"not a database at all" * 100)
    with pytest.raises(RegistryUnavailable, match=r"mlflow\.db: "):
        MlflowRegistry(place_of(tmp_path), timeout_s=SLOW_S).fetch("champion")


class Mark:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.pkl", "python_model.pkl", "model.onnx"])
def test_a_pickle_in_the_registry_is_never_loaded(tmp_path: Path, name: str) -> None:
    mark, raw = tmp_path / "mark", pickle.dumps(Mark(tmp_path / "mark"))
    pickle.loads(raw)
    assert mark.exists()  # so it would
    mark.unlink()
    hostile = honest(tmp_path)
    if name == "model.onnx":
        hostile.contents[MANIFEST.file] = raw
    else:
        hostile.listed.append((name, len(raw)))
        hostile.contents[name] = raw
        hostile.contents["MLmodel"] = b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n"
    with serving(hostile) as url, pytest.raises(ModelError, match=r"and nothing beside them|altered or torn"):
        registry(url, tmp_path).fetch("champion")
    assert not mark.exists()


def test_a_bit_flipped_in_the_registrys_own_folder_is_refused(tmp_path: Path) -> None:
    ours = MlflowRegistry(place_of(tmp_path), timeout_s=SLOW_S)
    version = ours.log(run_of())
    (file,) = (tmp_path / FOLDER).rglob("*.onnx")
    file.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(ModelError, match="altered or torn"):
        ours.fetch(version)

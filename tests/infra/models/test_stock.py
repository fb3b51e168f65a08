"""What `tickwire models` tells, from a cache and a registry in memory, and the commands themselves."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.models import app
from infra.models.cache import ModelCache
from infra.models.stock import stock
from models import manifest as manifests
from models.onnx import OnnxModel
from tests.infra.registries import DOWN, ListRegistry, model, run_of

FINE, CONTENT = model()
OTHER, OTHER_CONTENT = model(0.5)


def test_every_model_is_told_once_with_where_it_is(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models", OnnxModel.load)
    scoring = manifests.save(FINE, CONTENT, tmp_path / "models")
    registry = ListRegistry([run_of(0.25, log_loss=0.69), run_of(0.5)])
    registry.alias("champion", "2")
    told = {line.id: line for line in stock(cache, registry, scoring).models}
    assert list(told) == [OTHER.id, FINE.id]
    assert told[FINE.id].where == ("scoring", "cache", "registry")
    assert told[FINE.id].metrics == {"log_loss": 0.69}
    assert (told[OTHER.id].where, told[OTHER.id].aliases, told[OTHER.id].version) == (("registry",), ("champion",), "2")


def test_a_registry_that_is_down_is_told_and_the_cache_goes_on(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models", OnnxModel.load)
    registry = ListRegistry([run_of(0.25)], {"champion": "1"})
    cache.pull(registry, "champion")
    registry.fault = DOWN
    found = stock(cache, registry, tmp_path / "none")
    assert found.registry == str(DOWN)
    assert [(line.id, line.aliases, line.where) for line in found.models] == [(FINE.id, ("champion",), ("cache",))]


def test_a_damaged_model_is_told_with_its_fault(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models", OnnxModel.load)
    cache.keep(FINE, CONTENT)
    (tmp_path / "models" / f"{FINE.sha256}.onnx").write_bytes(CONTENT[:-1])
    (line,) = stock(cache, ListRegistry(), tmp_path / "none").models
    assert (line.id, line.where) == (FINE.id, ("cache",))
    assert "altered or torn" in line.fault


def ran(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return done.exit_code, done.stdout


def test_the_command_lists_and_verifies_what_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path))
    assert ran() == (0, "no model yet: `tickwire up` trains one; or tickwire train\n")
    assert ran("verify") == (0, "")
    manifests.save(FINE, CONTENT, tmp_path / "models")
    code, said = ran("--json")
    assert code == 0
    assert [(line["id"], line["where"]) for line in json.loads(said)["models"]] == [(FINE.id, ["cache"])]
    assert FINE.id in ran()[1]
    code, said = ran("verify", "--json")
    assert code == 1  # whole, but made for three columns that the stream does not carry
    assert "built on features abc1" in json.loads(said)["fault"]


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.onnx.gz", "model"])
def test_only_onnx_files_are_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path / "data"))
    (tmp_path / name).write_bytes(b"\x80\x04.")
    done = CliRunner().invoke(app, ["register", str(tmp_path / name)])
    assert "expected an .onnx file" in str(done.exception)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("file", "options"), [("triton.v2.onnx", ()), ("mine.onnx", ("--name", "triton.v2"))])
def test_a_file_is_not_registered_under_a_name_that_means_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path / "data"))
    (tmp_path / file).write_bytes(CONTENT)
    done = CliRunner().invoke(app, ["register", str(tmp_path / file), *options])
    assert "expected a name that does not begin with triton., was triton.v2" in str(done.exception)
    assert not (tmp_path / "data").exists()

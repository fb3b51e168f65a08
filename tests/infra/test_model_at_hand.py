"""What `tickwire up` does with a model that must not be used: it is put aside and said, unless the device may be at fault."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from infra.cli.up import model_at_hand
from infra.composition import model_path
from infra.settings import Models, Settings
from schemas.errors import ModelError


def _settings(folder: Path, **models: str) -> Settings:
    settings = Settings(data=folder, models=Models.model_validate(models))
    model_path(settings).parent.mkdir()
    return settings


@pytest.mark.parametrize(("kind", "then"), [("sim", "a new one is trained"), ("none", "the online model scores alone")])
def test_a_manifest_that_is_none_is_kept_aside_and_said(tmp_path: Path, kind: str, then: str) -> None:
    settings, said = _settings(tmp_path), io.StringIO()
    path = model_path(settings)
    path.write_text('{"id":')
    assert not model_at_hand(settings, Console(file=said, width=1_000), kind)
    assert not path.exists()
    assert (aside := path.with_name(f"{path.name}.refused")).read_text() == '{"id":'
    assert str(aside) in said.getvalue()
    assert then in said.getvalue()


def test_where_cuda_is_asked_for_in_vain_the_model_stays(tmp_path: Path) -> None:
    settings = _settings(tmp_path, provider="cuda")
    path = model_path(settings)
    path.write_text("whatever")
    with pytest.raises(ModelError, match=r"TICKWIRE_MODELS__PROVIDER.*'cuda'"):
        model_at_hand(settings, Console(file=io.StringIO()), "sim")
    assert path.read_text() == "whatever"


def test_no_model_is_none(tmp_path: Path) -> None:
    assert not model_at_hand(_settings(tmp_path), Console(file=io.StringIO()), "sim")

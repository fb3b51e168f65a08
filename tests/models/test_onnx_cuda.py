"""CUDA is what was asked for, or an error that says so; never the CPU in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from infra.composition import load_model
from infra.settings import Models, Settings
from models.boosting import BoostingSettings, boost
from models.onnx import OnnxModel
from schemas.errors import ModelError
from tests.models.datasets import about, dataset
from tests.models.rows import logistic
from tests.models.test_onnx import ROWS, answers, saved


def test_cuda_that_is_not_there_is_refused_before_any_model_is(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return  # proven by the canary of the next test
    with pytest.raises(ModelError, match=r"TICKWIRE_MODELS__PROVIDER: provider 'cuda' was asked for, but .* has only"):
        load_model(Settings(data=tmp_path, models=Models(provider="cuda")))


def test_cuda_is_refused_at_start_where_the_runtime_cannot_have_it(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert OnnxModel.load(saved(tmp_path, logistic()), provider="cuda").provider == "cuda"
        return
    with pytest.raises(ModelError, match=r"provider 'cuda' was asked for, but .* has only .*CPUExecutionProvider"):
        OnnxModel.load(saved(tmp_path, logistic()), provider="cuda")


def test_cuda_is_refused_when_onnx_runtime_itself_would_put_nodes_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return  # proven by the canary of the test above
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    path = saved(tmp_path, logistic())
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(
            ModelError, match=r"refuses it on provider 'cuda': .*fallback to CPU EP has been explicitly disabled"
        ),
    ):
        OnnxModel.load(path, provider="cuda")


class CpuAfterAll:
    """What ONNX Runtime hands out for CUDA when the driver is missing: a session that runs on the CPU."""

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_cuda_is_refused_when_the_session_silently_got_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def session(content: bytes, options: Any, providers: list[Any], enable_fallback: int) -> CpuAfterAll:
        asked.extend([providers[0][0], len(providers), enable_fallback, options.get_session_config_entry(key)])
        return CpuAfterAll()

    key = "session.disable_cpu_ep_fallback"
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(ModelError, match="but the session got CPUExecutionProvider"):
        OnnxModel.load(saved(tmp_path, logistic()), provider="cuda")
    assert asked == ["CUDAExecutionProvider", 1, 0, "1"]


REAL = onnxruntime.InferenceSession


class OnCuda:
    """A session that says it is on CUDA and scores `apart` higher than the CPU does."""

    def __init__(self, session: Any, apart: float) -> None:
        self.session, self.apart = session, apart

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]

    def run(self, *asked: Any) -> list[Any]:
        return [self.session.run(*asked)[0] + np.float32(self.apart)]


def with_cuda(monkeypatch: pytest.MonkeyPatch, apart: float) -> None:
    def session(content: bytes, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        made = REAL(content, providers=["CPUExecutionProvider"])
        return made if providers == ["CPUExecutionProvider"] else OnCuda(made, apart)

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_cuda_may_differ_from_the_cpu_by_a_little_on_the_canary_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(
        tmp_path, logistic(), [p + 0.8e-5 for p in answers(ROWS)]
    )  # the manifest alone would let twice as much pass
    with_cuda(monkeypatch, 0.7e-5)
    assert OnnxModel.load(path, provider="cuda").provider == "cuda"
    with_cuda(monkeypatch, 1.5e-5)
    with pytest.raises(
        ModelError, match=r"canary row 0 scores 0\.\d+ on CUDA and 0\.\d+ on the CPU, 1e-05 apart is allowed"
    ):
        OnnxModel.load(path, provider="cuda")


def test_trees_run_on_the_cpu_whatever_is_asked_for_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = dataset(2_500)
    path = boost(market, about(market), settings=BoostingSettings(trees=5)).save(tmp_path)
    with_cuda(monkeypatch, 0.0)
    assert OnnxModel.load(path, provider="cuda").provider == "cpu"

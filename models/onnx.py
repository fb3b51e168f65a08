"""A trained model file, scored by ONNX Runtime.

What a model file must be, whoever made it: one input `features`, float32 `[None, F]`, NaN where a value is missing and
never infinite; one output `p_up`, float32 `[None]`, `[None, 1]` or `[None, 2]` (the columns down and up), with P(up)
between 0 and 1; each row scored by itself; no external data. Beside it lies its manifest (`models.manifest`).
"""

from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnxruntime
from numba import njit
from numpy.typing import NDArray

from models import manifest as manifests
from models.manifest import Manifest
from models.model import Column, Matrix
from schemas.errors import ModelError

Provider: TypeAlias = Literal["cpu", "cuda"]
Inputs: TypeAlias = NDArray[np.float32]

MAX_BYTES: Final = 256 << 20
TOLERANCE: Final = 1e-5
"""A canary may differ by this much: other processors and CUDA round otherwise, an altered weight does far more."""
REACH: Final = 1e30
"""Features are cut at ±this before they become float32, so that an absurd value stays finite inside the graph."""
INPUT: Final = "features"
OUTPUT: Final = "p_up"
PROVIDERS: Final[dict[Provider, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TREES: Final = b"TreeEnsemble"
"""How the operators of tree ensembles are named."""
EXTERNAL: Final = b"\x0a\x08location"
"""How protobuf writes the key that every tensor kept in another file must have."""


class OnnxModel:
    """A checked ONNX Runtime session. On the CPU a row's score has the same bits in every batch."""

    name: Final = "onnx"

    def __init__(self, manifest: Manifest, session: Any, provider: Provider) -> None:
        self.manifest: Final = manifest
        self.id: Final = manifest.id
        self.features: Final = manifest.features
        self.provider: Final = provider
        """What the session really runs on, `cpu` or `cuda`."""
        self._session: Final = session

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        provider: Provider = "cpu",
        expected_features: tuple[str, ...] | None = None,
        expected_features_id: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> "OnnxModel":
        """The model whose manifest is at `path`, checked and warm.

        Raises ModelError unless the file is the one the manifest names (sha256), is made for the expected features,
        holds no external data, runs on the very provider asked for (trees always on the CPU: ONNX Runtime has no other kernels
        for them), and gives the canary rows their scores.
        """
        manifest = manifests.load(path)
        check_features(manifest, expected_features, expected_features_id)
        content = manifests.load_content(path, manifest, max_bytes)
        if EXTERNAL in content:
            raise ModelError(f"{path.parent / manifest.file} keeps tensors in other files; save it as one file")
        if TREES in content:
            provider = "cpu"
        model = cls(manifest, _session(content, provider, manifest.id), provider)
        _check_signature(model)
        _check_canary(model)
        if provider == "cuda":
            _check_against_cpu(model, content)
        return model

    def score(self, features: Matrix) -> Column:
        """P(up) of each row: float64 `[n, F]` in, float64 `[n]` out; NaN and infinities count as missing."""
        if features.ndim != 2 or features.shape[1] != len(self.features):
            raise ModelError(f"{self.id} takes rows of {len(self.features)} features, got shape {features.shape}")
        if len(features) == 0:
            return np.empty(0)
        return run(self._session, features)


def narrowed(features: Matrix) -> Inputs:
    """Float64 `[n, F]` as a model file takes it: float32 within ±`REACH`, NaN where missing or infinite."""
    rows = np.empty(features.shape, dtype=np.float32)
    _narrow(np.ascontiguousarray(features, dtype=np.float64), REACH, rows)
    return rows


def run(session: Any, features: Matrix) -> Column:
    """P(up) `[n]` of float64 rows `[n, F]`, one call to ONNX Runtime."""
    scores = np.asarray(session.run([OUTPUT], {INPUT: narrowed(features)})[0], dtype=np.float64)
    return np.ascontiguousarray(scores[:, -1]) if scores.ndim == 2 else scores


def open_session(content: bytes, provider: Provider = "cpu") -> Any:
    """An ONNX Runtime session on exactly this provider; whatever ONNX Runtime has against it is raised as it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; its own lines on stderr would only repeat them
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # else one for every number of rows that it ever met is remembered
    options.enable_cpu_mem_arena = False  # it keeps what the largest stretch of a backlog took
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if provider == "cpu":
        return onnxruntime.InferenceSession(content, options, providers=[PROVIDERS["cpu"]], enable_fallback=0)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    cuda = (PROVIDERS["cuda"], {"use_tf32": "0"})  # tf32 keeps 10 bits of a weight: far from the CPU's scores
    return onnxruntime.InferenceSession(content, options, providers=[cuda], enable_fallback=0)


def check_provider(provider: Provider, asker: str) -> None:
    """`ModelError`, naming the asker, where the installed ONNX Runtime has not this provider."""
    installed = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in installed:
        raise ModelError(
            f"{asker}: provider {provider!r} was asked for, but the installed ONNX Runtime has only "
            f"{', '.join(installed)}; install tickwire[gpu] in place of tickwire[cpu], or ask for provider 'cpu'"
        )


def _session(content: bytes, provider: Provider, model: str) -> Any:
    check_provider(provider, model)
    wanted = PROVIDERS[provider]
    try:
        session = open_session(content, provider)
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise ModelError(f"{model}: ONNX Runtime refuses it on provider {provider!r}: {error}") from error
    found = session.get_providers()
    if not found or found[0] != wanted:
        raise ModelError(
            f"{model}: provider {provider!r} was asked for, but the session got {', '.join(found) or 'none'}"
            ": check the NVIDIA driver, CUDA and cuDNN (`tickwire doctor`), or ask for provider 'cpu'"
        )
    return session


def check_features(manifest: Manifest, names: tuple[str, ...] | None, features_id: str | None) -> None:
    """`ModelError` where the model takes other features than these."""
    if features_id is not None and manifest.features_id != features_id:
        raise ModelError(
            f"model {manifest.id} was built on features {manifest.features_id}, but the stream carries {features_id}"
            "; retrain it or roll the stream back"
        )
    if names is not None and manifest.features != names:
        pairs = zip(manifest.features, names, strict=False)
        index = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(manifest.features), len(names)))
        raise ModelError(
            f"model {manifest.id} takes {len(manifest.features)} features, the stream carries {len(names)}"
            f"; they part at column {index}; retrain it or roll the stream back"
        )


def _check_signature(model: OnnxModel) -> None:
    width = len(model.features)
    inputs = [(x.name, x.type, x.shape) for x in model._session.get_inputs()]
    outputs = {x.name: (x.type, x.shape) for x in model._session.get_outputs()}
    name, kind, shape = inputs[0] if len(inputs) == 1 else ("", "", [])
    if (name, kind) != (INPUT, "tensor(float)") or len(shape) != 2 or isinstance(shape[0], int) or shape[1] != width:
        raise ModelError(f"{model.id}: expected one input {INPUT!r} of float32 [None, {width}], found {inputs}")
    kind, shape = outputs.get(OUTPUT, ("", []))
    if kind != "tensor(float)" or len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] not in (1, 2)):
        raise ModelError(
            f"{model.id}: expected an output {OUTPUT!r} of float32 [None], [None, 1] or [None, 2], found {outputs}"
        )


def _check_canary(model: OnnxModel) -> None:
    """Known rows must get their scores, alone as well as in a batch; this also warms the session up."""
    rows, expected = model.manifest.canary.rows(), np.array(model.manifest.canary.p_up)
    try:
        together = model.score(np.tile(rows, (8, 1)))
        alone = np.concatenate([model.score(row[np.newaxis]) for row in rows])
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise ModelError(f"{model.id}: ONNX Runtime cannot score the canary rows: {error}") from error
    if together.shape != (8 * len(rows),):
        raise ModelError(f"{model.id}: expected one score a row, found {together.shape} for {8 * len(rows)} rows")
    wrong = np.abs(alone - expected)
    if not (wrong <= TOLERANCE).all():  # false for NaN too
        row = int(np.argmax(~(wrong <= TOLERANCE)))
        raise ModelError(
            f"{model.id}: canary row {row} must score {expected[row]:.7f}, but scores {alone[row]:.7f} on "
            f"{model.provider}; the file or the runtime is broken: restore the file or train the model anew"
        )
    apart = float(np.abs(together - np.tile(alone, 8)).max())
    if apart > (0.0 if model.provider == "cpu" else TOLERANCE):
        raise ModelError(f"{model.id}: a row's score changes by {apart:.3g} with its batch; score each row by itself")


def _check_against_cpu(model: OnnxModel, content: bytes) -> None:
    """The canary rows score the same here on CUDA and on the CPU, to `TOLERANCE`."""
    rows = model.manifest.canary.rows()
    here, on_cpu = model.score(rows), run(open_session(content), rows)
    apart = np.abs(here - on_cpu)
    if not (apart <= TOLERANCE).all():
        row = int(np.argmax(~(apart <= TOLERANCE)))
        raise ModelError(
            f"{model.id}: canary row {row} scores {here[row]:.7f} on CUDA and {on_cpu[row]:.7f} on the CPU, "
            f"{TOLERANCE:g} apart is allowed: check the NVIDIA driver, CUDA and cuDNN, or ask for provider 'cpu'"
        )


@njit(cache=True)
def _narrow(features, reach, out):  # type: ignore[no-untyped-def]
    for i in range(features.shape[0]):
        for j in range(features.shape[1]):
            value = features[i, j]
            if np.isfinite(value):
                out[i, j] = min(max(value, -reach), reach)
            else:
                out[i, j] = np.nan

"""Any ONNX file with the documented input and output (`models.onnx`) becomes a model: checked, and given its manifest.

Needs the extra `train` (the package `onnx` reads which opset the file is of). What a file does to the process that opens it
is not judged here: open files of strangers where it does no harm.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import load_from_string

from models import manifest as manifests
from models.manifest import About, Canary, read_bounded
from models.model import Column, Matrix
from models.onnx import EXTERNAL, INPUT, MAX_BYTES, OUTPUT, OnnxModel, open_session, run
from models.training import TrainedModel, canary_rows
from schemas.errors import ModelError

PROBES: Final = 64
MOST_PROBES: Final = 1_000


def registered(
    content: bytes, about: About, *, rows: Matrix | None = None, kind: str = "user", max_bytes: int = MAX_BYTES
) -> TrainedModel:
    """The file with a manifest whose canary rows have the scores that it gives now.

    `rows`: float64 `[n, F]` of the kind that the model will meet (NaN is missing), to probe it with; standard normal ones
    where there are none. Raises ModelError unless the file is small enough, keeps nothing in other files, has the documented
    input and output, gives each of these rows, one of nothing but missing and one of absurd values a score between 0 and 1,
    and the same one whatever rows stand beside it.
    """
    _check_size(content, about, max_bytes)
    if EXTERNAL in content:
        raise ModelError(f"{about.name}: the file keeps tensors in other files; save it as one file")
    opset = _opset(content, about.name)
    probes = _probes(len(about.features)) if rows is None else _some(rows)
    shown = canary_rows(probes)
    _check_range(about.name, probes, _scored(content, about, probes))
    p_up = _scored(content, about, shown)
    _check_range(about.name, shown, p_up)
    manifest = manifests.describe(
        content, about, kind=kind, opset=opset, canary=Canary.of(shown, p_up), metrics=None
    )  # fmt: skip
    model = TrainedModel(content, manifest)
    with tempfile.TemporaryDirectory() as folder:  # the checks that every load makes: signature, canary, batches
        OnnxModel.load(
            model.save(Path(folder)), expected_features=about.features, expected_features_id=about.features_id,
            max_bytes=max_bytes,
        )  # fmt: skip
    return model


def register_file(path: Path, about: About, directory: Path, *, rows: Matrix | None = None) -> Path:
    """Register the ONNX file at `path` into `directory`; the manifest's path. Raises ModelError, and writes nothing then."""
    return registered(read_bounded(path, MAX_BYTES), about, rows=rows).save(directory)


def _check_size(content: bytes, about: About, max_bytes: int) -> None:
    if not about.features:
        raise ModelError(f"{about.name}: a model takes at least one feature")
    if not 0 < len(content) <= max_bytes:
        raise ModelError(f"{about.name}: expected a file of 1 to {max_bytes} bytes, found {len(content)} or more")


def _opset(content: bytes, name: str) -> int:
    try:
        model = load_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{name}: not an ONNX file: {error}") from error
    return max((int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)


def _probes(width: int) -> Matrix:
    """Rows in and far beyond the range of standard scores; some values are missing."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(PROBES, width)) * np.logspace(-6.0, 3.0, PROBES)[rng.permutation(PROBES), np.newaxis]
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def _some(rows: Matrix) -> Matrix:
    """At most `MOST_PROBES` rows, evenly from all."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_PROBES)).astype(np.int64))]


def _scored(content: bytes, about: About, probes: Matrix) -> Column:
    """One row at a time; whatever ONNX Runtime has against the file is told with what the file should be."""
    width = len(about.features)
    if probes.ndim != 2 or probes.shape[1] != width or len(probes) == 0:
        raise ModelError(f"{about.name}: takes {width} features, but is to be probed with rows of shape {probes.shape}")
    session: Any = None
    try:
        session = open_session(content)
        alone = [run(session, row[np.newaxis]) for row in probes]
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise ModelError(
            f"{about.name}: expected one input {INPUT!r} of float32 [None, {width}] and an output {OUTPUT!r} of float32 "
            f"[None], [None, 1] or [None, 2], found {_signature(session)}; ONNX Runtime says: {error}"
        ) from error
    if any(score.shape != (1,) for score in alone):
        shapes = sorted({score.shape for score in alone})
        raise ModelError(f"{about.name}: expected one score a row, found shapes {shapes}")
    return np.concatenate(alone)


def _signature(session: Any) -> str:
    if session is None:
        return "a file that it cannot open"
    inputs = [(each.name, each.type, each.shape) for each in session.get_inputs()]
    return f"inputs {inputs} and outputs {[(each.name, each.type, each.shape) for each in session.get_outputs()]}"


def _check_range(name: str, probes: Matrix, p_up: Column) -> None:
    wrong = ~((p_up >= 0.0) & (p_up <= 1.0))  # true for NaN too
    if wrong.any():
        at = int(np.argmax(wrong))
        missing = int(np.isnan(probes[at]).sum())
        raise ModelError(
            f"{name}: a score is a probability between 0 and 1, but a row with {missing} of {probes.shape[1]} values missing "
            f"scores {p_up[at]}"
        )

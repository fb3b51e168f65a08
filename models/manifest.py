"""What a model file says about itself, kept as JSON beside it."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from models.model import Column, Matrix
from schemas.errors import ModelError

FORMAT: Final = 1
MAX_MANIFEST_BYTES: Final = 1 << 20
SUFFIX: Final = ".manifest.json"

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Span(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of one partition of the log: the offsets `[start, end)`."""

    partition: Count
    start: Count
    end: Count


class TrainedOn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events a model has seen: those of log `log_id` between these offsets."""

    log_id: str
    spans: tuple[Span, ...]


class Label(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was to be predicted: whether the price is higher `horizon_s` seconds later."""

    horizon_s: Annotated[float, Meta(gt=0)]


class Metrics(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model did on the newest rows, which neither its fit nor its early stopping has seen.

    `base_rate` is the share of ups in those test rows; `base_log_loss` is what always saying the training rows' share
    would have scored there: a model whose `log_loss` is not below it has learnt nothing that lasted.
    """

    rows_given: Count
    rows_fitted: Count
    rows_validated: Count
    rows_tested: Count
    rows_purged: Count
    epochs: Count
    log_loss: float
    accuracy: float
    base_rate: float
    base_log_loss: float
    largest_difference: float
    """Between scikit-learn and ONNX Runtime, over every row given to the fit, the validation and the test."""


class Canary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows and the scores they must get; a missing value is null."""

    features: tuple[tuple[float | None, ...], ...]
    p_up: tuple[float, ...]

    @classmethod
    def of(cls, features: Matrix, p_up: Column) -> "Canary":
        """The canary of float64 rows `[n, F]` (NaN is missing) and their scores `[n]`."""
        rows = tuple(tuple(None if math.isnan(x) else x for x in row) for row in features.tolist())
        return cls(features=rows, p_up=tuple(p_up.tolist()))

    def rows(self) -> Matrix:
        """The inputs as float64 `[n, F]`, NaN where missing."""
        return np.array([[math.nan if x is None else x for x in row] for row in self.features], dtype=np.float64)


class About(Struct, frozen=True, kw_only=True):
    """What only the one who asks for a model can say: what its columns and labels mean, and where they come from."""

    features: tuple[str, ...]
    features_id: str
    trained_on: TrainedOn
    label: Label
    created_by: str
    created_ns: Count | None = None
    name: str = "mlp"


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one must know of a model before using it."""

    format: int = FORMAT
    name: str
    id: str
    kind: str
    file: str
    """The model's file name, in the directory of the manifest."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size: Count
    opset: Count
    features: Annotated[tuple[str, ...], Meta(min_length=1)]
    """In the order of the model's input columns."""
    features_id: str
    trained_on: TrainedOn
    label: Label
    created_by: str
    """Program and version, for example `tickwire 0.1.0`."""
    created_ns: Count | None = None
    """Told by whoever asked for the model (ns since the epoch), not part of its id."""
    canary: Canary
    metrics: Metrics | None = None


def content_id(name: str, content: bytes, features: Sequence[str], features_id: str) -> str:
    """`NAME-HASH`, where the hash is of the model's bytes and of what its columns mean."""
    meaning = msgspec.json.encode([FORMAT, features_id, list(features)])
    return f"{name}-{hashlib.sha256(content + meaning).hexdigest()[:12]}"


def describe(
    content: bytes, about: "About", *, kind: str, opset: int, canary: Canary, metrics: Metrics | None
) -> Manifest:
    """The manifest of the model file `content`; the way to bring a model that was trained elsewhere."""
    digest = hashlib.sha256(content).hexdigest()
    return Manifest(
        name=about.name,
        id=content_id(about.name, content, about.features, about.features_id),
        kind=kind,
        file=f"{about.name}-{digest[:12]}.onnx",
        sha256=digest,
        size=len(content),
        opset=opset,
        features=about.features,
        features_id=about.features_id,
        trained_on=about.trained_on,
        label=about.label,
        created_by=about.created_by,
        created_ns=about.created_ns,
        canary=canary,
        metrics=metrics,
    )


def manifest_name(model: str) -> str:
    """File name of the manifest of a model, by its name (the one that scores) or by its id (kept for ever).

    `ModelError` for what is no plain name: an id may come from a row.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", model):
        raise ModelError(f"expected the name or id of a model, found {model!r}")
    return f"{model}{SUFFIX}"


def save(manifest: Manifest, content: bytes, directory: Path) -> Path:
    """Write the model file, then the manifests that name it; returns the path of the one that has the model's name.

    The other one has the model's id and stays when another model takes the name, so that old scores can be computed again. All
    appear whole or not at all, and the rename of the manifest is the switch: a reader, or a crash at any moment,
    finds the previous model or this one.
    """
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise ModelError(f"{manifest.id}: the content to be saved is not what the manifest's sha256 names")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / manifest_name(manifest.name)
    _write(directory / manifest.file, content)
    told = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    _write(directory / manifest_name(manifest.id), told)
    _write(path, told)
    return path


def load(path: Path) -> Manifest:
    """Read a manifest; ModelError where there is none, or where it is not one."""
    manifest = _decode(path, read_bounded(path, MAX_MANIFEST_BYTES))
    if manifest.format != FORMAT:
        raise ModelError(
            f"{path}: manifest format {manifest.format}, this program reads {FORMAT}; train the model anew"
        )
    if Path(manifest.file).name != manifest.file or manifest.file in ("", ".", ".."):
        raise ModelError(f"{path}: `file` must be a plain file name beside the manifest, got {manifest.file!r}")
    canary = manifest.canary
    widths = {len(row) for row in canary.features}
    if widths != {len(manifest.features)} or len(canary.p_up) != len(canary.features):
        raise ModelError(
            f"{path}: the canary's shape does not fit {len(manifest.features)} features; train the model anew"
        )
    return manifest


def load_content(path: Path, manifest: Manifest, max_bytes: int) -> bytes:
    """The bytes of the model that the manifest at `path` names; ModelError unless they are exactly those."""
    file = path.parent / manifest.file
    if file.is_symlink():
        raise ModelError(f"{file} is a symbolic link; a model file must lie beside its manifest")
    content = read_bounded(file, max_bytes)
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ModelError(
            f"{file}: sha256 {found[:12]}…, but {path.name} names {manifest.sha256[:12]}…: "
            "the file was altered or torn; restore it or train the model anew"
        )
    return content


def _decode(path: Path, content: bytes) -> Manifest:
    try:
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: not a model manifest: {error}; train the model anew") from error


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file; `ModelError` where it cannot be read or has more of them. No more than that are ever read."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); train a model or correct the path") from error
    if len(content) > max_bytes:
        raise ModelError(f"{path} is larger than the {max_bytes} bytes that are allowed")
    return content


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

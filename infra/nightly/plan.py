"""What a nightly replay is to make: everything that decides a bit of the matrix, and what came of it, as JSON."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from infra.composition import rules
from infra.seeds import sync_directory
from infra.settings import Settings
from models.online import OnlineModel
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.shard import FoldRules
from schemas.errors import InputError
from streams.nightly import PIECE, MatrixSpan

FORMAT: Final = 1
PLAN: Final = "plan.json"
MANIFEST: Final = "manifest.json"
LIBRARIES: Final = ("numpy", "numba", "pyarrow", "river", "exchange-calendars", "scikit-learn", "skl2onnx", "onnx")
"""They decide bits too: of features, of files, of calendars, of models."""
_ROOT: Final = Path(__file__).parents[2]
_DECIDING: Final = (
    "schemas/*.py", "processors/**/*.py", "streams/decode.py", "streams/plain.py", "streams/archive.py", "streams/nightly.py",
    "streams/matrix_files.py", "streams/verify.py", "models/online.py", "models/learning.py", "models/numbers.py",
    "models/scaling.py", "models/dataset.py", "models/training.py", "models/export.py", "models/onnx.py", "models/model.py",
    "models/manifest.py", "infra/nightly/matrix.py", "infra/nightly/training.py",
)  # fmt: skip


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that decides the bits of a matrix: two replays of one plan write the same files."""

    format: int = FORMAT
    log_id: str
    spans: tuple[MatrixSpan, ...]
    features: tuple[str, ...]
    features_id: str
    horizon_ns: int
    rules: str
    """Of the fold."""
    calendars: Mapping[str, str]
    symbols: tuple[str, ...]
    """Whose rows are kept; of all where empty."""
    seed: int
    """Of the training that follows."""
    piece: int
    learner: str
    """Id of the online model that learns along; empty where none does."""
    code: str
    libraries: Mapping[str, str]

    @property
    def id(self) -> str:
        """Sixteen hex digits that change with any of it."""
        return hashlib.sha256(canonical(self)).hexdigest()[:16]


class PieceFile(Struct, frozen=True, kw_only=True):
    """A piece on disk, `file` within the matrix's directory: what matured at the offsets `[first, end)`."""

    file: str
    partition: int
    first: int
    end: int
    rows: int
    sha256: str


class Folded(Struct, frozen=True, kw_only=True):
    """What the fold of one partition came to."""

    partition: int
    records: int
    doors: Mapping[str, int]
    """The ledger: records by where they went, since `first`."""
    newest_ns: int
    """Newest event time on the log, heartbeats too."""
    learner_sha256: str = ""
    """Of `warm/pNNN.river`; empty where no model learnt along."""


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was checked: `found` (None: nothing was) held against `limit`; a few of the rows that broke it."""

    name: str
    subject: str
    passed: bool
    found: float | None
    limit: float
    broken: int = 0
    """Rows."""
    examples: tuple[str, ...] = ()


class Checked(Struct, frozen=True, kw_only=True):
    """All checks, and the limits they were held against (as JSON)."""

    limits: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether a model may be trained on it."""
        return all(check.passed for check in self.checks)


class MatrixManifest(Struct, frozen=True, kw_only=True):
    """A finished matrix. It tells no time: the same plan gives the same bytes of it too."""

    id: str
    plan: Plan
    rows: int
    pieces: tuple[PieceFile, ...]
    partitions: tuple[Folded, ...]
    checked: Checked | None = None
    """None until the checks have run."""


def plan_of(
    settings: Settings, log_id: str, spans: Sequence[MatrixSpan], *, symbols: Sequence[str] = (), warm_start: bool = False,
    piece: int = PIECE,
) -> Plan:  # fmt: skip
    """The plan of these spans under these settings (`settings.fold.horizon` is the horizon)."""
    fold: FoldRules = rules(settings.fold)
    return Plan(
        log_id=log_id, spans=tuple(spans), features=FEATURE_NAMES, features_id=FEATURES_ID,
        horizon_ns=fold.label.horizon_ns, rules=repr(fold), calendars=settings.fold.calendars,
        symbols=tuple(sorted(set(symbols))), seed=settings.models.seed, piece=piece,
        learner=OnlineModel(FEATURE_NAMES).id if warm_start else "", code=code_version(),
        libraries={name: _version(name) for name in LIBRARIES},
    )  # fmt: skip


def code_version() -> str:
    """Our version, and a digest of the sources that decide what is in a matrix and in a model."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _DECIDING for path in _ROOT.glob(pattern)):
        digest.update(f"{path.relative_to(_ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"{version('tickwire')}+{digest.hexdigest()[:12]}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # the extra that trains
        return "not installed"


def canonical(value: object) -> bytes:
    """As JSON, the same for the same value."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1) + b"\n"


def read_manifest(directory: Path) -> MatrixManifest | None:
    """The manifest of a finished matrix; None where it is not finished. `InputError` for one that cannot be read."""
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=MatrixManifest)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected the manifest of a matrix, {error}; throw the directory away") from error


def replaced(path: Path, content: bytes) -> None:
    """Put a file in place as a whole, on disk before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)

"""MLflow as a registry: SQLite beside our data, or a server; asked through a child, so that it can be neither slow nor large.

MLflow's client waits, retries and downloads without a bound, and takes seconds to import: no process that scores or serves
imports it (`infra.mlflow_child` does).
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec
from pydantic import SecretStr

from infra.private import private_folder
from infra.registry_exchange import (
    ANSWER,
    FROM_REGISTRY,
    MAX_ANSWER_BYTES,
    MODEL,
    QUESTION,
    REPORTS,
    TO_REGISTRY,
    Answer,
    Question,
    Wish,
)
from models import manifest as manifests
from models.manifest import SUFFIX, Manifest, TrainedOn
from models.onnx import MAX_BYTES
from models.registry import Alias, Fetched, RegistryUnavailable, Run, Version
from schemas.errors import ModelError, SettingsError

NAME: Final = "tickwire"
FOLDER: Final = "registry"
DATABASE: Final = "mlflow.db"
TIMEOUT_S: Final = 120.0
TAIL_LINES: Final = 3
QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a registry is. `secrets`: environment of the child alone, never written down."""

    tracking: str
    artifacts: str = ""
    database: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def place_of(data: Path, url: SecretStr | None = None) -> Place:
    """The registry of these settings: the server at `url` (`https://user:password@host:5000/`), else SQLite under `data`."""
    told = url.get_secret_value() if url is not None else ""
    if not told:
        folder = (data / FOLDER).resolve()
        database = folder / DATABASE
        return Place(f"sqlite:///{quote(str(database))}", (folder / "artifacts").as_uri(), database)
    parts = urlsplit(told)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(
            "TICKWIRE_REGISTRY__URL: expected http://host:port/ or https://host/, was another kind of address"
        )
    secrets = {
        f"MLFLOW_TRACKING_{name}": unquote(value)
        for name, value in (("USERNAME", parts.username), ("PASSWORD", parts.password))
        if value
    }
    return Place(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}", secrets=secrets)


class MlflowRegistry:
    """`models.registry.Registry` and `Listing` over MLflow; every call ends within `timeout_s`."""

    def __init__(self, place: Place, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> None:
        self._place: Final = place
        self._timeout_s: Final = timeout_s
        self._max_bytes: Final = max_bytes

    def log(self, run: Run) -> str:
        """Keep a run and its model; the version it got, or has had all along."""
        metrics = _finite({**_own_metrics(run.manifest), **run.metrics})
        with tempfile.TemporaryDirectory(prefix="tickwire-registry-") as folder:
            given = Path(folder) / TO_REGISTRY
            manifest = manifests.save(run.manifest, run.content, given / MODEL)
            (given / MODEL / manifests.manifest_name(run.manifest.id)).unlink()
            _written(given / REPORTS, run.reports)
            tags = _tags(run.manifest, manifest.read_bytes(), metrics)
            parameters = {"kind": run.manifest.kind, "features_id": run.manifest.features_id, **run.parameters}
            return self._ask(Path(folder), "log", tags=tags, metrics=metrics, parameters=parameters).version

    def alias(self, name: Alias, version: str) -> None:
        """Give a version this name, which it takes from the one that had it."""
        with tempfile.TemporaryDirectory(prefix="tickwire-registry-") as folder:
            self._ask(Path(folder), "alias", wanted=version, alias=name)

    def fetch(self, wanted: str) -> Fetched:
        """The model of an alias, a version or an id, its bytes checked against its manifest and both against the registry."""
        with tempfile.TemporaryDirectory(prefix="tickwire-registry-") as folder:
            taken = Path(folder) / FROM_REGISTRY
            taken.mkdir()
            found = self._ask(Path(folder), "fetch", wanted=wanted)
            manifest, content = read_fetched(taken, found.tags, self._max_bytes)
            return Fetched(found.version, manifest, content)

    def versions(self) -> Sequence[Version]:
        """Every version, the newest first; none where no registry was ever made."""
        if self._place.database is not None and not self._place.database.exists():
            return ()
        with tempfile.TemporaryDirectory(prefix="tickwire-registry-") as folder:
            return self._ask(Path(folder), "versions").versions

    def _ask(
        self, exchange: Path, wish: Wish, *, wanted: str = "", alias: str = "",
        tags: dict[str, str] | None = None, metrics: dict[str, float] | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        if self._place.database is not None:
            private_folder(self._place.database.parent)
        question = Question(
            wish=wish, tracking=self._place.tracking, artifacts=self._place.artifacts, model=NAME, max_bytes=self._max_bytes,
            wanted=wanted, alias=alias, tags=tags or {}, metrics=metrics or {}, parameters=parameters or {},
        )  # fmt: skip
        (exchange / QUESTION).write_bytes(msgspec.json.encode(question))
        answer = _answered(exchange, self._place, self._timeout_s)
        if answer.outcome == "refused":
            raise ModelError(f"{self._place.tracking}: {answer.why}")
        if answer.outcome == "unavailable":
            raise RegistryUnavailable(f"{self._place.tracking}: {answer.why}; models in the cache score on")
        return answer


def _answered(exchange: Path, place: Place, timeout_s: float) -> Answer:
    """Run the child on this exchange; `RegistryUnavailable` past the deadline, and where it says nothing."""
    if importlib.util.find_spec("mlflow") is None:
        raise RegistryUnavailable(
            "MLflow is not installed: pip install 'tickwire[registry]'; models in the cache score on"
        )
    command = [sys.executable, "-P", "-m", "infra.mlflow_child", str(exchange)]
    http = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout_s)))}
    environment = {**os.environ, **QUIET, **http, **place.secrets}
    try:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout_s, check=False, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RegistryUnavailable(
            f"{place.tracking}: no answer within {timeout_s:g} s; models in the cache score on"
        ) from error
    path = exchange / ANSWER
    if not path.is_file() or path.stat().st_size > MAX_ANSWER_BYTES:
        said = " | ".join(ended.stdout.splitlines()[-TAIL_LINES:])
        raise RegistryUnavailable(f"{place.tracking}: MLflow's client ended with {ended.returncode}: {said}")
    return msgspec.json.decode(path.read_bytes(), type=Answer)


def read_fetched(folder: Path, tags: Mapping[str, str], max_bytes: int) -> tuple[Manifest, bytes]:
    """The model that lies in `folder`, which is what a registry made of it: nothing in it is believed."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    plain = [file for file in files if file.is_file() and not file.is_symlink()]
    described = [file for file in plain if file.name.endswith(SUFFIX)]
    models = [file for file in plain if file.suffix == ".onnx"]
    if (len(files), len(described), len(models)) != (2, 1, 1):
        raise ModelError(f"expected a manifest and its .onnx file, the registry gave {[file.name for file in files]}")
    manifest = manifests.load(described[0])
    content = manifests.load_content(described[0], manifest, max_bytes)
    for name, found in _identity(manifest, described[0].read_bytes()).items():
        if tags.get(name) != found:
            raise ModelError(
                f"{manifest.id}: the registry was told {name} {tags.get(name)}, but its files say {found}: they were "
                "altered; register the model anew"
            )
    return manifest, content


def _identity(manifest: Manifest, told: bytes) -> dict[str, str]:
    """What ties a version of the registry to its two files."""
    return {"model_id": manifest.id, "sha256": manifest.sha256, "manifest_sha256": hashlib.sha256(told).hexdigest()}


def _tags(manifest: Manifest, told: bytes, metrics: Mapping[str, float]) -> dict[str, str]:
    return _identity(manifest, told) | {
        "kind": manifest.kind,
        "trained_on": trained_on_text(manifest.trained_on),
        "metrics": msgspec.json.encode(metrics).decode(),
    }


def trained_on_text(trained_on: TrainedOn) -> str:
    """Events and log, for people: `12,000 events of 4 partitions, log 1f…`; `not told` of a model from elsewhere."""
    if not trained_on.spans:
        return "not told"
    events = sum(span.end - span.start for span in trained_on.spans)
    return f"{events:,} events of {len(trained_on.spans)} partitions, log {trained_on.log_id}"[:500]


def _own_metrics(manifest: Manifest) -> dict[str, float]:
    return {} if manifest.metrics is None else msgspec.to_builtins(manifest.metrics)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if abs(value) < float("inf")}


def _written(folder: Path, reports: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in reports.items():
        if Path(name).name != name or name.startswith("."):
            raise ModelError(f"expected the plain name of a report, found {name!r}")
        (folder / name).write_bytes(content)

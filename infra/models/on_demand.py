"""Every trained model in the models' directory, loaded when somebody asks for it: `api.ports.Predictor`."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Final

import numpy as np

from api.ports import Meter, ServedModel
from models.manifest import SUFFIX, Manifest, manifest_name
from models.manifest import load as load_manifest
from models.model import Column, Matrix
from models.onnx import OnnxModel
from schemas.errors import ModelError

KEPT: Final = 32
KEPT_BYTES: Final = 512 << 20
"""Of loaded models' files; the one that was asked for longest ago makes room."""
_ID: Final = re.compile(r".+-[0-9a-f]{12}")

Stamp = tuple[int, int, int]


class OnDemandModels:
    """Models by name, the one that scores now, and by name and version, every one that ever did. `scoring`: the id of that one.

    They run on the CPU, as on the scoring process: the same row gets the same bits. Rows are the client's own, so a model
    may have other columns than the stream has now. May be called from several threads.
    """

    def __init__(self, directory: Path, meter: Meter, scoring: Callable[[], str] = str) -> None:
        self._directory, self._meter, self._scoring = directory, meter, scoring
        self._manifests: dict[Path, tuple[Stamp, Manifest]] = {}
        self._loaded: OrderedDict[str, OnnxModel] = OrderedDict()
        self._lock = Lock()

    def models(self) -> Mapping[str, Sequence[str]]:
        """Versions by name. A model whose manifest is broken is there without any: `find` says what is wrong with it."""
        found: dict[str, dict[str, int]] = {}
        for path in sorted(self._directory.glob(f"[!.]*{SUFFIX}")):
            try:
                manifest = self._manifest(path)
            except ModelError:
                stem = path.name.removesuffix(SUFFIX)
                if _ID.fullmatch(stem) is None:  # else one version of several
                    found.setdefault(stem, {})
                continue
            stamp, version = self._manifests[path][0][0], _version(manifest)
            versions = found.setdefault(manifest.name, {})
            versions[version] = min(stamp, versions.get(version, stamp))
        return {
            name: sorted(versions, key=lambda version: (versions[version], version))
            for name, versions in sorted(found.items())
        }

    def find(self, name: str, version: str = "") -> ServedModel | None:
        """The model, loaded and checked; `ModelError` where it must not be used."""
        named, _, scores = self._scoring().rpartition("-") if not version else ("", "", "")
        with self._lock:
            model = self._load(name, scores) if named == name else None
            model = model or self._load(name, version)
        if model is None:
            return None
        manifest = model.manifest
        return ServedModel(
            name=name,
            version=_version(manifest),
            id=manifest.id,
            features=manifest.features,
            features_id=manifest.features_id,
            horizon_s=manifest.label.horizon_s,
        )

    def infer(self, model: ServedModel, features: Matrix) -> Column:
        """P(up) `[n]` of rows `[n, F]`; `ModelError` where a score is no probability."""
        with self._lock:
            loaded = self._loaded.get(model.id) or self._load(model.name, model.version)
        if loaded is None or loaded.id != model.id:
            raise ModelError(f"{model.id} is gone from {self._directory}")
        began = perf_counter()
        try:
            scores = loaded.score(features)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime's own exceptions share no other base
            raise ModelError(f"{model.id}: ONNX Runtime cannot score {len(features)} rows: {error}") from error
        self._meter.observe("tickwire_model_score_seconds", perf_counter() - began, model=model.id)
        probable = (scores >= 0.0) & (scores <= 1.0)  # false for NaN too
        if not probable.all():
            row = int(np.argmin(probable))
            raise ModelError(f"{model.id}: expected a probability for row {row}, got {scores[row]}")
        return scores

    def _load(self, name: str, version: str) -> OnnxModel | None:
        """The model, now the newest of the loaded; the caller holds the lock."""
        path = self._path(name, version)
        if path is None:
            return None
        manifest = self._manifest(path)
        if manifest.name != name:  # asked for by an id: those have versions
            return None
        model = self._loaded.pop(manifest.id, None) or OnnxModel.load(path)
        self._loaded[manifest.id] = model
        while len(self._loaded) > KEPT or self._is_full():
            self._loaded.popitem(last=False)
        return model

    def _is_full(self) -> bool:
        """Never for the sake of one model alone."""
        return len(self._loaded) > 1 and sum(model.manifest.size for model in self._loaded.values()) > KEPT_BYTES

    def _path(self, name: str, version: str) -> Path | None:
        """The manifest that is meant, None where there is none; a name from outside is never a path."""
        try:
            current = self._directory / manifest_name(name)
            path = self._directory / manifest_name(f"{name}-{version}") if version else current
        except ModelError:
            return None
        if path.exists():
            return path
        if not version and (versions := self.models().get(name)):  # none was saved by its name alone: the newest
            return self._directory / manifest_name(f"{name}-{versions[-1]}")
        if version and current.exists() and _version(self._manifest(current)) == version:
            return current  # saved before models were kept by their ids
        return None

    def _manifest(self, path: Path) -> Manifest:
        """Read again only when the file is another one."""
        try:
            stat = path.stat()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._manifests.get(path)
        if known is None or known[0] != stamp:
            known = self._manifests[path] = (stamp, load_manifest(path))
        return known[1]


def _version(manifest: Manifest) -> str:
    """What an id adds to the name."""
    return manifest.id.removeprefix(f"{manifest.name}-")

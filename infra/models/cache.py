"""The models of this machine: contents by sha256, manifests by id. Scoring reads here and asks no registry.

In `settings.data/"models"`: `SHA256.onnx`, `ID.manifest.json`, and `aliases.json`, what the registry last said of its names.
What the trainer saves there (`models.manifest.save`) is in the cache too. The manifest under a plain name, the one that scores,
is never touched from here.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from infra.private import private_folder
from infra.seeds import sync_directory
from models import manifest as manifests
from models.manifest import SUFFIX, Manifest, content_id, manifest_name
from models.onnx import MAX_BYTES
from models.registry import ALIASES, Registry, RegistryUnavailable
from schemas.errors import ModelError

FOLDER: Final = "models"
ALIASES_FILE: Final = "aliases.json"
LOCK: Final = ".cache.lock"
STAGING: Final = ".staging-"
MAX_ALIASES_BYTES: Final = 1 << 16

Vet: TypeAlias = Callable[[Path], object]
"""Takes the path of a manifest; raises `ModelError` unless its model may score."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry: `manifest` is None, and `fault` says why, where it cannot be used."""

    model_id: str
    path: Path
    manifest: Manifest | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The model to use; `fault` says why it is the cache's last one and not the registry's."""

    model_id: str
    path: Path
    fault: str = ""


class ModelCache:
    """A folder of models, each checked by `vet` before it comes in; several processes may share it."""

    def __init__(self, directory: Path, vet: Vet, *, max_bytes: int = MAX_BYTES) -> None:
        self._directory: Final = directory
        self._vet: Final = vet
        self._max_bytes: Final = max_bytes

    def keep(self, manifest: Manifest, content: bytes) -> Path:
        """Take a model in; the path of its manifest. `ModelError` where it is not what its id says, or is not fit to score.

        What is refused leaves no trace. A damaged entry of the same id is mended.
        """
        _check_identity(manifest, content, self._max_bytes)
        known = self._directory / manifest_name(manifest.id)
        if known.exists() and not self._fault(known):
            return known
        private_folder(self._directory)
        named = msgspec.structs.replace(manifest, file=f"{manifest.sha256}.onnx")
        with _locked(self._directory), _staging(self._directory) as staging:
            manifests.save(named, content, staging)
            self._vet(staging / known.name)
            (staging / named.file).replace(self._directory / named.file)
            (staging / known.name).replace(known)
            sync_directory(self._directory)
        return known

    def find(self, model_id: str) -> Path:
        """The manifest of a model whose files are whole; `ModelError` where there is none, or it was damaged."""
        path = self._directory / manifest_name(model_id)
        if not path.exists():
            raise ModelError(f"{model_id} is not in {self._directory}; `tickwire models pull {model_id}` fetches it")
        fault = self._fault(path)
        if fault:
            raise ModelError(fault)
        return path

    def pull(self, registry: Registry, wanted: str) -> Pulled:
        """The model of an alias, a version or an id, from the registry; what the cache has of it where that fails.

        An id names its content: it is not asked for again. An error where neither the registry nor the cache has the model.
        """
        try:
            if (
                wanted not in ALIASES
                and not wanted.isdecimal()
                and not self._fault(self._directory / manifest_name(wanted))
            ):
                return Pulled(wanted, self.find(wanted))
            fetched = registry.fetch(wanted)
            if wanted not in (*ALIASES, fetched.version, fetched.manifest.id):
                raise ModelError(f"asked for {wanted}, the registry gave {fetched.manifest.id}")
            path = self.keep(fetched.manifest, fetched.content)
        except (RegistryUnavailable, ModelError) as error:
            last = self.aliases().get(wanted)
            if last is None:
                raise
            return Pulled(last, self.find(last), str(error))
        if wanted in ALIASES:
            self._remember(wanted, fetched.manifest.id)
        return Pulled(fetched.manifest.id, path)

    def aliases(self) -> dict[str, str]:
        """Which id each of the registry's names had when it was last pulled."""
        path = self._directory / ALIASES_FILE
        if not path.exists():
            return {}
        with path.open("rb") as file:
            content = file.read(MAX_ALIASES_BYTES)
        try:
            return msgspec.json.decode(content, type=dict[str, str])
        except msgspec.DecodeError as error:  # of which ValidationError is one
            raise ModelError(f"{path}: not the aliases that were pulled: {error}; delete it and pull again") from error

    def entries(self) -> Sequence[Kept]:
        """Every model kept by its id, and whether its files are whole; models are not run."""
        kept = (self._entry(path) for path in sorted(self._directory.glob(f"*{SUFFIX}")))
        return [entry for entry in kept if entry is not None]

    def verify(self) -> Iterator[Kept]:
        """Every entry again, with its model met anew: sha256, signature, canary, pace."""
        for entry in self.entries():
            if entry.fault:
                yield entry
                continue
            try:
                self._vet(entry.path)
            except ModelError as error:
                yield Kept(entry.model_id, entry.path, None, str(error))
            else:
                yield entry

    def _entry(self, path: Path) -> Kept | None:
        """None for the manifest under a plain name: its model is kept by its id as well."""
        model_id = path.name.removesuffix(SUFFIX)
        fault = self._fault(path)
        if fault:
            return Kept(model_id, path, None, fault)
        manifest = manifests.load(path)
        by_id = path.with_name(manifest_name(manifest.id))
        return None if path != by_id and by_id.exists() else Kept(manifest.id, path, manifest)

    def _fault(self, path: Path) -> str:
        """Why the model that the manifest at `path` names must not be used; empty where its files are whole."""
        try:
            if path.is_symlink():
                raise ModelError(f"{path} is a symbolic link; a manifest must lie in the cache itself")
            manifest = manifests.load(path)
            _check_identity(manifest, manifests.load_content(path, manifest, self._max_bytes), self._max_bytes)
            if path.name not in (manifest_name(manifest.id), manifest_name(manifest.name)):
                raise ModelError(f"{path} is the manifest of {manifest.id}; delete it and pull the model again")
        except ModelError as error:
            return str(error)
        return ""

    def _remember(self, alias: str, model_id: str) -> None:
        with _locked(self._directory):
            told = msgspec.json.encode(self.aliases() | {alias: model_id})
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".aliases-", delete=False) as file:
                file.write(told)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._directory / ALIASES_FILE)
            sync_directory(self._directory)


def _check_identity(manifest: Manifest, content: bytes, max_bytes: int) -> None:
    """A manifest may say what it likes: its id is a hash of the content and of what the columns mean."""
    if len(content) > max_bytes:
        raise ModelError(f"{manifest.id}: {len(content)} bytes are larger than the {max_bytes} bytes that are allowed")
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256 or len(content) != manifest.size:
        raise ModelError(
            f"{manifest.id}: expected {manifest.size} bytes of sha256 {manifest.sha256[:12]}…, found {len(content)} of "
            f"{found[:12]}…: the file was altered or torn; fetch it again or train the model anew"
        )
    named = content_id(manifest.name, content, manifest.features, manifest.features_id)
    if named != manifest.id:
        raise ModelError(f"a manifest says {manifest.id}, but its content and features are those of {named}; refused")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _staging(directory: Path) -> Iterator[Path]:
    """A folder to make an entry in, on the same file system; those of killed processes go first. Hold the lock."""
    for left in directory.glob(f"{STAGING}*"):
        for file in left.iterdir():
            file.unlink()
        left.rmdir()
    with tempfile.TemporaryDirectory(dir=directory, prefix=STAGING) as folder:
        yield Path(folder)

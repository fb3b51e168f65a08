"""What `tickwire models` tells: the cache and the registry side by side, one line a model."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from infra.models.cache import Kept, ModelCache
from infra.registry import trained_on_text
from models import manifest as manifests
from models.manifest import Manifest
from models.registry import Listing, RegistryUnavailable, Version
from schemas.errors import ModelError


class Line(Struct, frozen=True, kw_only=True):
    """A model and where it is; `fault` says why the cache's copy cannot be used."""

    id: str
    kind: str
    trained_on: str
    metrics: dict[str, float]
    version: str
    """The registry's number; empty where the registry does not have it, or does not answer."""
    aliases: tuple[str, ...]
    where: tuple[str, ...]
    """Of `scoring` (its manifest is the one that scores), `cache`, `registry`."""
    fault: str = ""


class Stock(Struct, frozen=True, kw_only=True):
    """Every model; `registry` says why the registry could not be asked, empty where it could."""

    models: tuple[Line, ...]
    registry: str = ""


def stock(cache: ModelCache, registry: Listing, scoring: Path) -> Stock:
    """Every model of both, the registry's newest first. `scoring`: manifest of the one that scores."""
    kept = {entry.model_id: entry for entry in cache.entries()}
    versions: Sequence[Version] = ()
    silent, aliases = "", cache.aliases()
    try:
        versions = registry.versions()
    except RegistryUnavailable as error:
        silent = str(error)
    else:
        aliases = {name: each.model_id for each in versions for name in each.aliases}
    scores = _id_of(scoring)
    known = {each.model_id: each for each in reversed(versions)}
    ids = [*reversed(known), *(each for each in kept if each not in known)]
    return Stock(
        models=tuple(_line(each, kept.get(each), known.get(each), aliases, scores) for each in ids), registry=silent
    )


def _line(model_id: str, kept: Kept | None, version: Version | None, aliases: dict[str, str], scores: str) -> Line:
    manifest = kept.manifest if kept else None
    places = {"scoring": model_id == scores, "cache": kept is not None, "registry": version is not None}
    return Line(
        id=model_id,
        kind=manifest.kind if manifest else version.kind if version else "",
        trained_on=trained_on_text(manifest.trained_on) if manifest else version.trained_on if version else "",
        metrics=version.metrics if version else _metrics(manifest),
        version=version.version if version else "",
        aliases=tuple(sorted(name for name, named in aliases.items() if named == model_id)),
        where=tuple(name for name, there in places.items() if there),
        fault=kept.fault if kept else "",
    )


def _metrics(manifest: Manifest | None) -> dict[str, float]:
    return msgspec.to_builtins(manifest.metrics) if manifest and manifest.metrics else {}


def _id_of(scoring: Path) -> str:
    """Empty where nothing scores yet, or its manifest is broken, which its own entry in the cache says."""
    try:
        return manifests.load(scoring).id
    except ModelError:
        return ""

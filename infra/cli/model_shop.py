"""The work behind `tickwire models`: put together, done, printed."""

import json
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.table import Table as Grid
from rich.text import Text

from infra.cli.plain import plain
from infra.composition import model_path
from infra.models.places import opened
from infra.models.stock import Line, stock
from infra.models.vetting import described
from infra.settings import Settings
from models.manifest import About, Label, TrainedOn, read_bounded
from models.onnx import MAX_BYTES
from models.registry import RegistryUnavailable, Run
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.control import REMOTE
from schemas.errors import ModelError

SUFFIX: Final = ".onnx"


def listed(settings: Settings, *, as_json: bool) -> None:
    """Print every model of the cache and of the registry."""
    cache, registry = opened(settings)
    found = stock(cache, registry, model_path(settings))
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    grid = Grid("id", "kind", "log loss", "version", "alias", "where", "trained on", box=None, header_style="bold")
    for line in found.models:
        grid.add_row(
            line.id, line.kind, _loss(line), line.version, " ".join(line.aliases), ", ".join(line.where),
            Text(line.fault, style="red") if line.fault else line.trained_on,
        )  # fmt: skip
    console = plain()
    console.print(grid if found.models else "no model yet: `tickwire up` trains one; or tickwire train")
    if found.registry:
        print(f"the registry: {found.registry}", file=sys.stderr)


def _loss(line: Line) -> str:
    loss, base = line.metrics.get("log_loss"), line.metrics.get("base_log_loss")
    if loss is None:
        return ""
    return f"{loss:.5f}" if base is None else f"{loss:.5f} (base {base:.5f})"


def registered(settings: Settings, file: Path, name: str, *, as_json: bool) -> None:
    """Take an ONNX file into the cache and the registry; the cache keeps it where the registry does not answer."""
    if file.suffix != SUFFIX:
        raise ModelError(f"{file}: expected an .onnx file; nothing else is opened, least of all a pickle")
    if name.startswith(REMOTE):
        raise ModelError(
            f"expected a name that does not begin with {REMOTE}, was {name}: ids that begin so are of models that a server "
            "scores; choose another with --name"
        )
    content = read_bounded(file, MAX_BYTES)
    about = About(
        name=name, features=FEATURE_NAMES, features_id=FEATURES_ID, created_by=f"registered from {file.name}",
        trained_on=TrainedOn(log_id="", spans=()), label=Label(horizon_s=settings.fold.horizon.total_seconds()),
    )  # fmt: skip
    manifest = described(file, about)
    cache, registry = opened(settings)
    path = cache.keep(manifest, content)
    try:
        version = registry.log(Run(manifest, content, parameters={"file": file.name}))
    except RegistryUnavailable as error:
        raise RegistryUnavailable(
            f"{manifest.id} is in the cache, not in the registry: {error}; register it again later"
        ) from error
    told = {"id": manifest.id, "version": version, "path": str(path)}
    print(json.dumps(told) if as_json else f"{manifest.id} is version {version} of the registry, and at {path}")


def pulled(settings: Settings, wanted: str, *, as_json: bool) -> int:
    """Fetch a model into the cache; 1 where the registry's was refused, or there was no answer, and the cache's serves."""
    cache, registry = opened(settings)
    found = cache.pull(registry, wanted)
    if as_json:
        print(json.dumps({"id": found.model_id, "path": str(found.path), "fault": found.fault}))
    elif found.fault:
        print(f"error: {found.fault}", file=sys.stderr)
        print(f"{found.model_id}, the last good one, stays at {found.path}")
    else:
        print(f"{found.model_id} is at {found.path}")
    return 1 if found.fault else 0


def verified(settings: Settings, *, as_json: bool) -> int:
    """Print of every cached model whether it may score; 1 where one may not."""
    cache, _ = opened(settings)
    bad = 0
    for entry in cache.verify():
        bad += bool(entry.fault)
        if as_json:
            print(json.dumps({"id": entry.model_id, "path": str(entry.path), "fault": entry.fault}), flush=True)
        else:
            print(f"{entry.model_id}: {entry.fault or 'well'}", flush=True)
    return 1 if bad else 0

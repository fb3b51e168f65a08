"""`tickwire export-triton`: a trained model as a directory that Triton Inference Server serves."""

import json
import sys
from pathlib import Path
from typing import Literal

from infra.cli.plain import plain
from infra.settings import Settings


def export_triton(
    settings: Settings,
    repository: Path,
    model: str,
    version: int | None,
    *,
    device: Literal["cpu", "gpu"],
    max_batch_size: int,
    queue_delay_us: int,
    as_json: bool,
) -> None:
    """Write the model of that name or id into the repository and say where it lies; `ModelError` where it must not be used."""
    from models.manifest import load, manifest_name  # noqa: PLC0415
    from models.triton import Serving, export  # noqa: PLC0415

    path = settings.data / "models" / manifest_name(model)
    serving = Serving(device=device, max_batch_size=max_batch_size, queue_delay_us=queue_delay_us)
    target = export(path, repository, version=version, serving=serving)
    manifest = load(path)
    told = {"id": manifest.id, "model": manifest.name, "version": int(target.name), "directory": str(target)}
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    plain().print(
        f"{manifest.id} is version {target.name} of {manifest.name} in {repository}; serve it with\n"
        f"  tritonserver --model-repository {repository.resolve()}",
        soft_wrap=True,
        highlight=False,
    )

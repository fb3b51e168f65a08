"""A model as Triton Inference Server wants to find it: `REPOSITORY/NAME/config.pbtxt` and `REPOSITORY/NAME/VERSION/model.onnx`.

The configuration is written from the model file and its manifest; nothing is left to Triton's guesses. Reference:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from models.manifest import Manifest, load_content, manifest_name
from models.onnx import INPUT, MAX_BYTES, OUTPUT, OnnxModel, open_session
from schemas.errors import ModelError

CONFIG: Final = "config.pbtxt"
FILE: Final = "model.onnx"
KINDS: Final = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}


@dataclass(frozen=True, slots=True)
class Serving:
    """How Triton is to run a model."""

    device: Literal["cpu", "gpu"] = "cpu"
    instances: int = 1
    """Of the model on each device, each with one thread of its own."""
    max_batch_size: int = 4_096
    queue_delay_us: int = 200
    """A request waits at most so long for others to be scored with."""

    def __post_init__(self) -> None:
        if self.device not in KINDS:
            raise ModelError(f"expected device cpu or gpu, got {self.device!r}")
        for name, value, least in (
            ("instances", self.instances, 1),
            ("max_batch_size", self.max_batch_size, 1),
            ("queue_delay_us", self.queue_delay_us, 0),
        ):
            if not least <= value < 2**31:
                raise ModelError(f"{name} must be {least} or more, was {value}")


def export(path: Path, repository: Path, *, version: int | None = None, serving: Serving | None = None) -> Path:
    """Put the model whose manifest is at `path` into a Triton repository; the directory of the version.

    The model is loaded and must score its canary first. `version`: the next one where it is left out, or the one that
    holds this very file already. `ModelError` where the model must not be used, or the version holds another one.
    """
    manifest = OnnxModel.load(path).manifest
    content = load_content(path, manifest, MAX_BYTES)
    manifest_name(manifest.name)  # refuses a name that would be a path
    home = repository / manifest.name
    number = _free_version(home, content) if version is None else version
    if number < 1:
        raise ModelError(f"a version in a Triton repository is 1 or more, was {number}")
    target = home / str(number)
    _place(target, content)
    _write(home / CONFIG, config(manifest, content, serving or Serving()).encode())
    return target


def config(manifest: Manifest, content: bytes, serving: Serving) -> str:
    """The text of `config.pbtxt` for a checked model file."""
    told = {
        "tickwire_id": manifest.id,
        "tickwire_sha256": manifest.sha256,
        "tickwire_features_id": manifest.features_id,
        "tickwire_features": ",".join(manifest.features),
        "intra_op_thread_count": "1",  # as the scoring process runs it
        "inter_op_thread_count": "1",
    }
    parameters = "\n".join(
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in told.items()
    )
    return f"""\
# Written by tickwire for {_quoted(manifest.id)}; the newest version is served.
name: {_quoted(manifest.name)}
backend: "onnxruntime"
default_model_filename: "{FILE}"
max_batch_size: {serving.max_batch_size}
input [ {{ name: "{INPUT}" data_type: TYPE_FP32 dims: [ {len(manifest.features)} ] }} ]
output [ {{ name: "{OUTPUT}" data_type: TYPE_FP32 {_output_dims(content)} }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group [ {{ kind: {KINDS[serving.device]} count: {serving.instances} }} ]
dynamic_batching {{ max_queue_delay_microseconds: {serving.queue_delay_us} preserve_ordering: true }}
{parameters}
"""


def _output_dims(content: bytes) -> str:
    """What follows the rows in the output: Triton cannot say `[n]` but by a reshape."""
    shape = next(output.shape for output in open_session(content).get_outputs() if output.name == OUTPUT)
    return f"dims: [ {shape[1]} ]" if len(shape) == 2 else "dims: [ 1 ] reshape { shape: [ ] }"


def _free_version(home: Path, content: bytes) -> int:
    versions = sorted(int(one.name) for one in home.glob("[1-9]*") if one.name.isdecimal() and one.is_dir())
    for number in versions:
        if _holds(home / str(number), content):
            return number
    return versions[-1] + 1 if versions else 1


def _holds(target: Path, content: bytes) -> bool:
    file = target / FILE
    return file.is_file() and file.read_bytes() == content


def _place(target: Path, content: bytes) -> None:
    """The version's directory appears whole: a Triton that polls its repository never sees half a file."""
    if target.exists():
        if not _holds(target, content):
            raise ModelError(f"{target} holds another model; choose another version, or none to take the next")
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    _write(temporary / FILE, content)
    temporary.rename(target)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _quoted(text: str) -> str:
    """A string literal of protobuf's text format: UTF-8, with everything that is not plain ASCII escaped."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'

"""The messages of the Open Inference Protocol (KServe V2): bytes of a request to a matrix, scores to bytes of an answer.

One input, `features`, FP64 or FP32 `[n, F]`, and one output, `p_up`, FP64 `[n]`. A missing value is `null` or NaN; as Triton
does, NaN and Infinity are read in JSON too, which has no such numbers. Tensors may lie behind the JSON as little-endian
bytes (the extension `binary_tensor_data`): the header `Inference-Header-Content-Length` then says how long the JSON is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray

from api.ports import ServedModel
from schemas.errors import TickwireError

Matrix = NDArray[np.float64]

INPUT: Final = "features"
OUTPUT: Final = "p_up"
PLATFORM: Final = "onnx_onnxv1"
EXTENSIONS: Final = ("binary_tensor_data",)
MAX_ROWS: Final = 4_096
MAX_BYTES: Final = 4 << 20
"""Of a whole request."""
MAX_JSON_BYTES: Final = 1 << 20
"""To parse so much takes some milliseconds, in which the feed waits for the interpreter; binary tensors are not parsed."""
TYPES: Final[Mapping[str, np.dtype[Any]]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}

Count = Annotated[int, Meta(ge=0, le=2**31)]


class InferenceRefused(TickwireError):
    """A request that the protocol answers with `{"error": …}` and an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class InputParameters(Struct, frozen=True):
    """Where an input's values are, if they are not its `data`."""

    binary_data_size: Count | None = None
    shared_memory_region: str | None = None


class Input(Struct, frozen=True):
    """One input tensor; `data` row by row, nested or flat."""

    name: str
    datatype: str
    shape: Sequence[Count]
    parameters: InputParameters = InputParameters()
    data: Raw = Raw()


class OutputParameters(Struct, frozen=True):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: int = 0
    shared_memory_region: str | None = None


class WantedOutput(Struct, frozen=True):
    """One output that is asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(Struct, frozen=True):
    """What holds for a whole request."""

    binary_data_output: bool = False


class InferenceRequest(Struct, frozen=True):
    """The JSON of a request; fields of other extensions are passed over."""

    inputs: Sequence[Input]
    outputs: Sequence[WantedOutput] = ()
    id: Annotated[str, Meta(max_length=1_000)] = ""
    parameters: RequestParameters = RequestParameters()


class BinaryOutput(Struct, frozen=True):
    """How many bytes of an output lie behind the JSON."""

    binary_data_size: int | None = None


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output tensor, with its values or with their size."""

    name: str
    datatype: str
    shape: Sequence[int]
    parameters: BinaryOutput | None = None
    data: Sequence[float] | None = None


class InferenceResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str = ""
    id: str = ""
    outputs: Sequence[Output]


class Tensor(Struct, frozen=True):
    """A tensor's description; -1 is any number of rows."""

    name: str
    datatype: str
    shape: Sequence[int]


class ModelMetadata(Struct, frozen=True, kw_only=True):
    """What a model takes and gives. `parameters`: the model's id, and what its columns and its score are about."""

    name: str
    versions: Sequence[str] = ()
    platform: str = ""
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    parameters: dict[str, str | float] = {}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: P(up) of `features`, float64 `[n, F]`, as JSON or as bytes behind it."""

    features: Matrix
    id: str
    binary: bool


def metadata_of(model: ServedModel, versions: Sequence[str]) -> ModelMetadata:
    """The description that clients build their requests from."""
    return ModelMetadata(
        name=model.name,
        versions=versions,
        platform=PLATFORM,
        inputs=(Tensor(INPUT, "FP64", (-1, len(model.features))),),
        outputs=(Tensor(OUTPUT, "FP64", (-1,)),),
        parameters={
            "id": model.id, "features": ",".join(model.features), "features_id": model.features_id,
            "horizon_s": model.horizon_s,
        },
    )  # fmt: skip


def decode_request(body: bytes, json_length: str | None, width: int) -> Asked:
    """What `body` asks of a model with `width` columns; `json_length` as the header says it, None where all is JSON.

    Raises: `InferenceRefused`.
    """
    length = len(body) if json_length is None else _length(json_length, len(body))
    if length > MAX_JSON_BYTES:
        raise InferenceRefused(
            413, f"expected at most {MAX_JSON_BYTES} bytes of JSON, got {length}; send binary tensors"
        )
    request = _request(body[:length])
    if [one.name for one in request.inputs] != [INPUT]:
        raise InferenceRefused(400, f"expected one input {INPUT!r}, got {[one.name for one in request.inputs][:10]}")
    _check_shape(request.inputs[0], width)
    return Asked(_rows(request.inputs[0], memoryview(body)[length:]), request.id, _wants_binary(request))


def encode_response(model: ServedModel, asked: Asked, p_up: NDArray[np.float64]) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where bytes follow it."""
    tail = p_up.astype("<f8").tobytes() if asked.binary else b""
    output = Output(
        name=OUTPUT, datatype="FP64", shape=(len(p_up),),
        parameters=BinaryOutput(len(tail)) if asked.binary else None, data=None if asked.binary else p_up.tolist(),
    )  # fmt: skip
    answer = InferenceResponse(model_name=model.name, model_version=model.version, id=asked.id, outputs=(output,))
    told = msgspec.json.encode(answer)
    return told + tail, len(told) if asked.binary else None


def _length(text: str, available: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) > available:
        raise InferenceRefused(
            400,
            f"Inference-Header-Content-Length: expected 0 to {available}, the length of the body, got {text[:40]!r}",
        )
    return int(text)


_REQUEST: Final = msgspec.json.Decoder(InferenceRequest)


def _request(text: bytes) -> InferenceRequest:
    try:
        try:
            return _REQUEST.decode(text)
        except msgspec.DecodeError:
            if b"NaN" not in text and b"Infinity" not in text:
                raise
        return _REQUEST.decode(msgspec.json.encode(json.loads(text)))  # which writes null for both
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise InferenceRefused(400, f"expected an inference request in JSON: {error}") from error


def _check_shape(tensor: Input, width: int) -> None:
    if tensor.datatype not in TYPES:
        raise InferenceRefused(400, f"{INPUT}: expected datatype FP64 or FP32, got {tensor.datatype[:40]!r}")
    if len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise InferenceRefused(400, f"{INPUT}: expected shape [n, {width}], got {list(tensor.shape[:10])}")
    if tensor.shape[0] > MAX_ROWS:
        raise InferenceRefused(
            413, f"{INPUT}: expected at most {MAX_ROWS} rows, got {tensor.shape[0]}; send fewer at once"
        )


def _wants_binary(request: InferenceRequest) -> bool:
    if not request.outputs:
        return request.parameters.binary_data_output
    if [one.name for one in request.outputs] != [OUTPUT]:
        raise InferenceRefused(400, f"expected one output {OUTPUT!r}, got {[one.name for one in request.outputs][:10]}")
    wanted = request.outputs[0].parameters
    if wanted.classification or wanted.shared_memory_region is not None:
        raise InferenceRefused(400, f"{OUTPUT}: classification and shared memory are not served; ask for the tensor")
    return request.parameters.binary_data_output if wanted.binary_data is None else wanted.binary_data


def _rows(tensor: Input, tail: memoryview) -> Matrix:
    """The values, NaN where missing."""
    size = tensor.parameters.binary_data_size
    if tensor.parameters.shared_memory_region is not None:
        raise InferenceRefused(400, f"{INPUT}: shared memory is not served; send the tensor")
    if (size is None) == (len(tensor.data) == 0):
        raise InferenceRefused(400, f"{INPUT}: expected either `data` or `parameters.binary_data_size`")
    if (size or 0) != len(tail):
        raise InferenceRefused(400, f"expected {size or 0} bytes behind the JSON, as the inputs say, got {len(tail)}")
    return _parsed(tensor) if size is None else _binary(tensor, tail)


def _binary(tensor: Input, tail: memoryview) -> Matrix:
    rows, width = tensor.shape
    kind = TYPES[tensor.datatype]
    if len(tail) != rows * width * kind.itemsize:
        raise InferenceRefused(
            400, f"{INPUT}: {tensor.datatype} {[rows, width]} has {rows * width * kind.itemsize} bytes, got {len(tail)}"
        )
    return np.frombuffer(tail, dtype=kind).astype(np.float64).reshape(rows, width)


_FLAT: Final = msgspec.json.Decoder(list[float | None])
_NESTED: Final = msgspec.json.Decoder(list[list[float | None]])
_BEGINS_NESTED: Final = re.compile(rb"\s*\[\s*\[")


def _parsed(tensor: Input) -> Matrix:
    rows, width = tensor.shape
    try:
        if _BEGINS_NESTED.match(tensor.data) is None:
            values = _FLAT.decode(tensor.data)
        else:
            nested = _NESTED.decode(tensor.data)
            if any(len(row) != width for row in nested):
                raise InferenceRefused(400, f"{INPUT}: expected rows of {width} values")
            values = [value for row in nested for value in row]
    except msgspec.DecodeError as error:
        raise InferenceRefused(400, f"{INPUT}: expected numbers and nulls: {error}") from error
    if len(values) != rows * width:
        raise InferenceRefused(400, f"{INPUT}: shape {[rows, width]} has {rows * width} values, got {len(values)}")
    return np.array(values, dtype=np.float64).reshape(rows, width)  # None becomes NaN

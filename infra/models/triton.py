"""A model that a Triton Inference Server runs, or any server of the Open Inference Protocol: our own `/v2`, KServe, MLServer."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
import numpy as np

from api.inference_messages import INPUT, OUTPUT, TYPES, InferenceResponse, ModelMetadata
from models.manifest import Manifest
from models.model import Column, Matrix
from models.onnx import TOLERANCE, Inputs, narrowed
from schemas.errors import BackendError, ModelError

JSON_LENGTH: Final = "Inference-Header-Content-Length"
ROWS_AT_ONCE: Final = 1_024
MAX_ANSWER: Final = 1 << 20
"""Bytes; the scores of so many rows are a few thousand."""
KEPT_ALIVE_S: Final = 4.0
"""Less than uvicorn's five seconds: a connection that the server is about to close is not taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; `json_length`: how much of it is JSON, where bytes follow."""

    status: int
    json_length: str | None
    content: bytes


class TritonModel:
    """`models.model.Model` over HTTP, with connections that are kept alive. For shadows only.

    Each call is a round trip: a champion that waits for a network would hold up every symbol, and a server that is away
    would stop the fold. A server also may be given another model while we run, which the canary shows only at the start.
    """

    name: Final = "triton"

    def __init__(self, client: httpx2.Client, manifest: Manifest, path: str, timeout_s: float) -> None:
        self.manifest: Final = manifest
        self.id: Final = manifest.id
        self.features: Final = manifest.features
        self._client, self._path, self._timeout_s = client, path, timeout_s
        self._server: Final = f"{client.base_url.host}:{client.base_url.port or client.base_url.scheme}"

    @classmethod
    def connect(
        cls, url: str, manifest: Manifest, *, model: str = "", version: str = "", timeout_s: float = 1.0,
        apart: float = 0.0,
    ) -> "TritonModel":  # fmt: skip
        """The model that the server at `url` serves as `model` (the manifest's name where empty), checked.

        `apart`: how far a row's score may lie from its score in another batch. With 0 the server must keep the promise of
        `Model`; above it (a GPU may need 1e-5) a replay does not write the same bits.
        Raises: `ModelError` where the server has not this model, `BackendError` where it does not answer.
        """
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ModelError(f"expected a Triton server as http://HOST:PORT, got {url!r}")
        limits = httpx2.Limits(max_keepalive_connections=4, keepalive_expiry=KEPT_ALIVE_S)
        client = httpx2.Client(
            base_url=url, timeout=timeout_s, limits=limits, trust_env=False, headers={"Accept-Encoding": "identity"}
        )
        path = f"/v2/models/{quote(model or manifest.name, safe='')}"
        path = f"{path}/versions/{quote(version, safe='')}" if version else path
        made = cls(client, manifest, path, timeout_s)
        try:
            made._check_signature()
            made._check_canary(apart)
        except BaseException:
            client.close()
            raise
        return made

    def score(self, features: Matrix) -> Column:
        """P(up) of each row: float64 `[n, F]` in, float64 `[n]` out; NaN and infinities count as missing.

        Raises: `BackendError` where the server does not answer, `ModelError` where it refuses or answers something else.
        """
        if features.ndim != 2 or features.shape[1] != len(self.features):
            raise ModelError(f"{self.id} takes rows of {len(self.features)} features, got shape {features.shape}")
        rows = narrowed(features)
        parts = [self._infer(rows[first : first + ROWS_AT_ONCE]) for first in range(0, len(rows), ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty(0)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def __enter__(self) -> "TritonModel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _infer(self, rows: Inputs) -> Column:
        """One request: float32 `[n, F]` as bytes, and bytes back."""
        content = rows.astype("<f4", copy=False).tobytes()
        parameters = {"binary_data_size": len(content)}
        asked = msgspec.json.encode(
            {
                "inputs": [{"name": INPUT, "datatype": "FP32", "shape": rows.shape, "parameters": parameters}],
                "outputs": [{"name": OUTPUT, "parameters": {"binary_data": True}}],
            }
        )
        headers = {JSON_LENGTH: str(len(asked)), "Content-Type": "application/octet-stream"}
        answer = self._said("POST", f"{self._path}/infer", content=asked + content, headers=headers)
        try:
            scores = _scores(answer)
        except (msgspec.DecodeError, LookupError, ValueError) as error:
            raise ModelError(f"{self.id}: {self._server} answers without an output {OUTPUT!r}: {error}") from error
        if len(scores) != len(rows):
            raise ModelError(f"{self.id}: expected {len(rows)} scores of {self._server}, got {len(scores)}")
        return scores

    def _said(self, method: str, path: str, **more: Any) -> Answer:
        """An answer with status 200."""
        try:
            with self._client.stream(method, path, **more) as answer:
                said = Answer(answer.status_code, answer.headers.get(JSON_LENGTH), self._body(answer))
        except httpx2.RequestError as error:
            raise BackendError(
                f"{self.id}: Triton at {self._server} does not answer {path} ({type(error).__name__}: {error}); "
                "start it, correct its address, or take the model from the shadows"
            ) from error
        if said.status == httpx2.codes.OK:
            return said
        told = f"{self.id}: {self._server} answered {path} with {said.status}: {_complaint(said)}"
        raise BackendError(told) if said.status >= 500 else ModelError(told)

    def _body(self, answer: httpx2.Response) -> bytes:
        """All of it, within the time that one answer may take: a server that gives byte after byte is given up too."""
        until, body = time.monotonic() + self._timeout_s, bytearray()
        for part in answer.iter_raw():
            body += part
            if len(body) > MAX_ANSWER:
                raise ModelError(f"{self.id}: {self._server} answers with more than {MAX_ANSWER} bytes")
            if time.monotonic() > until:
                raise BackendError(f"{self.id}: {self._server} is not done answering after {self._timeout_s:g} s")
        return bytes(body)

    def _check_signature(self) -> None:
        width = len(self.features)
        answer = self._said("GET", self._path)
        try:
            told = msgspec.json.decode(answer.content, type=ModelMetadata)
        except msgspec.DecodeError as error:
            raise ModelError(f"{self._server} does not speak the Open Inference Protocol: {error}") from error
        inputs = [(one.name, one.datatype, list(one.shape)) for one in told.inputs]
        outputs = {one.name: one.datatype for one in told.outputs}
        if len(inputs) != 1 or inputs[0][0] != INPUT or inputs[0][1] not in TYPES or inputs[0][2] != [-1, width]:
            raise ModelError(
                f"{self.id}: expected {self._server} to take {INPUT!r}, floats [-1, {width}], found {inputs}"
            )
        if outputs.get(OUTPUT) not in TYPES:
            raise ModelError(f"{self.id}: expected {self._server} to give {OUTPUT!r}, floats, found {outputs}")

    def _check_canary(self, apart: float) -> None:
        """Known rows must get their scores, alone as well as in a batch."""
        rows, expected = self.manifest.canary.rows(), np.array(self.manifest.canary.p_up)
        alone = np.concatenate([self.score(row[np.newaxis]) for row in rows])
        wrong = np.abs(alone - expected)
        if not (wrong <= TOLERANCE).all():  # false for NaN too
            row = int(np.argmax(~(wrong <= TOLERANCE)))
            raise ModelError(
                f"{self.id}: canary row {row} must score {expected[row]:.7f}, but scores {alone[row]:.7f} at "
                f"{self._server}: it serves another model; export this one again, or name its version"
            )
        found = float(np.abs(self.score(np.tile(rows, (8, 1))) - np.tile(alone, 8)).max())
        if not found <= apart:
            raise ModelError(
                f"{self.id}: at {self._server} a row's score changes by {found:.3g} with its batch, "
                f"{apart:.3g} is allowed; serve it on the CPU, or allow more and give up equal bits in replay"
            )


def _scores(answer: Answer) -> Column:
    """`p_up` of an inference response, as float64 `[n]`; the last column where the model has two."""
    start = int(answer.json_length or len(answer.content))
    for output in msgspec.json.decode(answer.content[:start], type=InferenceResponse).outputs:
        size = output.parameters.binary_data_size if output.parameters is not None else None
        if output.name != OUTPUT:
            start += size or 0
            continue
        flat = (
            np.array(output.data)
            if size is None
            else np.frombuffer(answer.content[start:][:size], TYPES[output.datatype])
        )
        scores: Column = flat.astype(np.float64).reshape(output.shape)
        return scores if scores.ndim == 1 else np.ascontiguousarray(scores[:, -1])
    raise LookupError("it has others")


def _complaint(answer: Answer) -> str:
    try:
        return str(msgspec.json.decode(answer.content)["error"])[:500]
    except (LookupError, TypeError, ValueError):
        return answer.content[:200].decode(errors="replace")

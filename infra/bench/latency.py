"""How long is an event on its way from the collector to a WebSocket client?

Everything runs as it does in production, in processes of their own: simulated exchange, scoring process, API. This process is the
one client, subscribed to the predictions of every symbol. Measured per message: the wall clock when its frame was read here, less
`ts_ingest`, which the exchange's process stamped before it wrote the event to the log.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
import msgspec
import numpy as np
from websockets.sync.client import ClientConnection, connect

from infra.access.dev_key import own_headers
from infra.bench.machine import cpu_seconds
from infra.bench.workbench import Market, Workbench, in_child, train_model, workbench, write_log
from infra.embedded.ports import free_port
from infra.embedded.service import Process, Service
from infra.instance import NICE, environment
from infra.settings import Settings
from schemas.errors import BackendError

RATES: Final = (1_000, 10_000)
WARM_UP_S: Final = 5.0
MEASURED_S: Final = 15.0
HISTORY: Final = 60_000
"""Events that a model is trained from first."""
SUBSCRIBE: Final = '{"op":"subscribe","channels":["predictions"],"symbols":["*"],"snapshot":false}'
ANSWER_S: Final = 30.0


class Scored(msgspec.Struct):
    """What is needed of a prediction."""

    ts_ingest: int


class Message(msgspec.Struct):
    """Any message of the feed; `conflated` are left out for a newer one, a message of type `gap` tells of lost ones."""

    type: str
    data: Scored | None = None
    conflated: int = 0


FRAMES: Final = msgspec.json.Decoder(list[Message])


@dataclass(frozen=True, slots=True)
class Latency:
    """Of all messages that came while measured."""

    rate: int
    """Events per second asked for."""
    seconds: float
    messages: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    messages_per_frame: float
    conflated: int
    gaps: int
    cores: Mapping[str, float]
    """Processors used by each process."""


def latencies(
    settings: Settings, rates: Sequence[int] = RATES, warm_up_s: float = WARM_UP_S, measured_s: float = MEASURED_S
) -> list[Latency]:
    """One after the other, on services of their own."""
    with workbench(settings) as bench:
        in_child(write_log, bench.settings.kafka, Market.of(HISTORY))
        in_child(train_model, bench.settings)
        found = _with_api(bench)
        return [_measured(Workbench(found, bench.supervisor), rate, warm_up_s, measured_s) for rate in rates]


def _with_api(bench: Workbench) -> Settings:
    """Scoring process and API, once both are ready."""
    tree = bench.settings.model_dump()
    tree["api"]["port"] = free_port()
    settings = Settings.model_validate(tree)
    url = f"http://{settings.api.address}"
    bench.supervisor.start(
        _program(settings, "api", ready=lambda: _is_ok(f"{url}/healthz")),
        _program(settings, "score", ready=lambda: _has_caught_up(f"{url}/readyz")),
    )
    return settings


def _program(settings: Settings, name: str, *arguments: str, ready: Callable[[], bool] = lambda: True) -> Service:
    command = [sys.executable, "-m", "infra.cli", name, *arguments]
    env = {**os.environ, **environment(settings)}
    return Service(name=name, command=command, ready=ready, env=env, nice=NICE.get(name, 0))


def _is_ok(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def _has_caught_up(url: str) -> bool:
    """Whether what was on the log before is scored: nobody measures how old history is."""
    try:
        answer = httpx2.get(url, timeout=2)
    except httpx2.TransportError:
        return False
    if answer.status_code != httpx2.codes.OK:
        return False
    told = answer.json()
    return told["lag"] == 0 and any(sum(score["events"].values()) for score in told["scores"])


def _measured(bench: Workbench, rate: int, warm_up_s: float, measured_s: float) -> Latency:
    api, shown = bench.settings.api, own_headers(bench.settings)
    with connect(
        f"ws://{api.address}/v1/stream", open_timeout=ANSWER_S, compression=None, additional_headers=shown
    ) as feed:
        feed.send(SUBSCRIBE)
        with _exchange(bench, rate) as pid:
            _first_update(feed)
            _listen(feed, warm_up_s)
            pids = {**bench.pids(), "sim": pid, "client": os.getpid()}
            before = {name: cpu_seconds(each) for name, each in pids.items()}
            heard = _listen(feed, measured_s)
            used = {name: (cpu_seconds(each) - before[name]) / measured_s for name, each in pids.items()}
    if not heard.latencies:
        raise BackendError(
            f"no prediction came within {measured_s:g} s; the logs were under {bench.settings.data}/logs"
        )
    return heard.told(rate, measured_s, used)


@contextmanager
def _exchange(bench: Workbench, rate: int) -> Iterator[int]:
    """The simulated exchange, live; its process id."""
    process = Process(_program(bench.settings, "sim", "--rate", str(rate)), bench.supervisor.log_path(f"sim-{rate}"))
    try:
        yield process.pid
    finally:
        process.stop()


def _first_update(feed: ClientConnection) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not any(message.data is not None for message in FRAMES.decode(feed.recv(timeout=ANSWER_S))):
        if time.monotonic() > deadline:
            raise BackendError(f"no prediction came within {ANSWER_S:g} s")


@dataclass(slots=True)
class _Heard:
    latencies: list[int]
    frames: int = 0
    conflated: int = 0
    gaps: int = 0

    def told(self, rate: int, seconds: float, cores: Mapping[str, float]) -> Latency:
        ms = np.array(self.latencies) / 1e6
        p50, p99, most = (round(float(value), 2) for value in np.percentile(ms, [50, 99, 100]))
        return Latency(
            rate, seconds, len(ms), p50, p99, most, round(len(ms) / self.frames, 1), self.conflated, self.gaps,
            {name: round(value, 3) for name, value in cores.items()},
        )  # fmt: skip


def _listen(feed: ClientConnection, seconds: float) -> _Heard:
    heard, end = _Heard([]), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            frame = feed.recv(timeout=left)
        except TimeoutError:
            break
        now = time.time_ns()
        updates = 0
        for message in FRAMES.decode(frame):
            if message.data is not None:
                heard.latencies.append(now - message.data.ts_ingest)
                heard.conflated += message.conflated
                updates = 1
            heard.gaps += message.type == "gap"
        heard.frames += updates
    return heard

"""How long is a message on its way from the consumer's thread to every WebSocket client?

One process has the hub, uvicorn and a thread that publishes predictions as a Kafka consumer would (a batch every 5 ms);
this process has the clients, which decode every message. Latency: from the call of `publish_many` to the decoded message
in the client, over all clients; CLOCK_MONOTONIC is one clock for both processes.

    python -m benchmarks.feed --rate 10000 --clients 5 --seconds 10 --json

Last numbers (2-core virtual machine, Linux 6, Python 3.11.7, other work at a load of about 1.5 beside it), 5 clients:

| messages/s | p50 ms | p99 ms | p99.9 ms | max ms | messages a frame | conflated | cores for server and publisher |
|---|---|---|---|---|---|---|---|
| 1,000  | 0.4 | 2.8 | 4.7 | 7.7 | 5 | 0 | 0.06 |
| 10,000 | 0.6 | 2.0 | 3.8 | 5.5 | 50 | 0 | 0.08 |

On the same machine under a load of 13 the scheduler decides: p50 0.7, p99 165 ms, and clients that had no processor were
conflated. At 100,000 messages/s five Python clients can't decode what comes; they are conflated, the server uses 0.3 cores.
"""

import argparse
import asyncio
import json
import multiprocessing
import threading
import time
from multiprocessing.synchronize import Event
from typing import Any

import msgspec
import numpy as np
import uvloop
import websockets

from api.app import create_app
from api.feed.hub import FeedHub
from api.ports import Ports
from api.server import listen, serve
from infra.telemetry import Telemetry
from schemas.rows import Prediction
from tests.api.access.keys import EVERYBODY
from tests.api.fakes import HistoryList, LatestList, StatusList

WARM_UP_S = 1.0


class Body(msgspec.Struct):
    """What the clients need of a prediction: `ts_ingest` is when it was published."""

    ts_ingest: int


class Message(msgspec.Struct):
    """Any message of the feed."""

    type: str
    data: Body | None = None
    conflated: int = 0


DECODER = msgspec.json.Decoder(list[Message])


def payload(symbol: str, offset: int, now: int) -> bytes:
    """A prediction as it stands in its topic."""
    row = Prediction(
        symbol=symbol, ts_event=now, ts_ingest=now, log_id="01J9ZC0000000000000000", src_partition=offset % 4,
        src_offset=offset, price=101.255, p_up=0.5312345678, champion="onnx", online=0.5127345678, onnx=0.5312345678,
        features_id="9f3c0b5e1a2b3c4d",
    )  # fmt: skip
    return msgspec.json.encode(row)


def publish(hub: FeedHub, go: Event, cpu: Any, arguments: argparse.Namespace) -> None:
    """Publish at the rate, in batches, until the time is over; late batches are made up for."""
    go.wait()
    began = time.process_time()
    names = [f"SIM{n:03}" for n in range(arguments.symbols)]
    size = max(1, round(arguments.rate * arguments.batch_ms / 1_000))
    due = time.monotonic()
    for first in range(0, round(arguments.rate * (arguments.seconds + WARM_UP_S)), size):
        due += size / arguments.rate
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic_ns()
        batch = [(names[n % len(names)], n) for n in range(first, first + size)]
        hub.publish_many([("predictions", name, payload(name, n, now)) for name, n in batch])
    cpu.value = (time.process_time() - began) / (arguments.seconds + WARM_UP_S)


def server(port: Any, go: Event, cpu: Any, arguments: argparse.Namespace) -> None:
    """The API and its publisher, until it is told to stop."""
    telemetry = Telemetry()
    hub = FeedHub(telemetry, time.time_ns)
    ports = Ports(LatestList(), HistoryList(), StatusList(), telemetry, telemetry.exposition, time.time_ns, EVERYBODY)
    listener = listen("127.0.0.1", 0)
    threading.Thread(target=publish, args=(hub, go, cpu, arguments), daemon=True).start()
    port.value = listener.getsockname()[1]
    serve(create_app(ports, hub, version="bench"), hub, listener)


async def read(port: int, seconds: float, ready: asyncio.Barrier) -> tuple[list[np.ndarray], int, int]:
    """One client: latencies of what came after the warm-up, frames, and messages conflated."""
    latencies: list[np.ndarray] = []
    frames = conflated = 0
    async with websockets.connect(f"ws://127.0.0.1:{port}/v1/stream", compression=None) as socket:
        await socket.send('{"op":"subscribe","channels":["predictions"],"symbols":["*"],"snapshot":false}')
        await ready.wait()
        end = time.monotonic() + seconds + WARM_UP_S
        counted_from = time.monotonic_ns() + round(WARM_UP_S * 1e9)
        while time.monotonic() < end:
            messages = DECODER.decode(await socket.recv())
            now = time.monotonic_ns()
            if now > counted_from:
                latencies.append(np.array([now - one.data.ts_ingest for one in messages if one.data is not None]))
                conflated += sum(one.conflated for one in messages)
                frames += 1
    return latencies, frames, conflated


async def measure(port: int, go: Event, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the clients."""
    ready = asyncio.Barrier(arguments.clients + 1)
    reading = [asyncio.create_task(read(port, arguments.seconds, ready)) for _ in range(arguments.clients)]
    await ready.wait()
    go.set()
    results = await asyncio.gather(*reading)
    ms = np.concatenate([one for latencies, _, _ in results for one in latencies]) / 1e6
    p50, p99, p999 = np.percentile(ms, [50, 99, 99.9])
    return {
        "rate": arguments.rate, "clients": arguments.clients, "seconds": arguments.seconds,
        "delivered_per_client_per_s": round(len(ms) / arguments.clients / arguments.seconds),
        "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "p999_ms": round(float(p999), 2),
        "max_ms": round(float(ms.max()), 2), "messages_per_frame": round(len(ms) / sum(one[1] for one in results), 1),
        "conflated": sum(one[2] for one in results),
    }  # fmt: skip


def main() -> None:
    """Start the server, run the clients, print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second")
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--batch-ms", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port, cpu, go = context.Value("i", 0), context.Value("d", 0.0), context.Event()
    process = context.Process(target=server, args=(port, go, cpu, arguments))
    process.start()
    while port.value == 0 and process.is_alive():
        time.sleep(0.05)
    try:
        found = uvloop.run(measure(port.value, go, arguments))
        found["server_cpu"] = round(cpu.value, 2)
    finally:
        process.terminate()
        process.join(10)
    print(json.dumps(found) if arguments.json else "\n".join(f"{name:28} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()

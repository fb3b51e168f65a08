"""Do a thousand clients notice a stalled reader, a slow one and a reconnect storm? And what does one delivery cost?

Crowd: one process has the hub and uvicorn; this one has the clients. Every client wants the bars of one of 50 symbols, 50 bars a
second come, so 1,000 clients take 1,000 deliveries a second in sum. Beside them one reader takes everything of a firehose (500
outcomes a second) and stops reading, another one takes it at 20 kB/s, and during the second half a hundred clients at a time
connect, subscribe and go, again and again. Latency: from `publish_many` to the decoded message, of the clients that are healthy.

Price: the same message, again and again, to 100 sockets that only drain: CPU seconds of the whole server process per delivery,
through the hub (bars, never conflated), and through plain `websockets.broadcast`, in one run.

    python -m benchmarks.feed_clients --json
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import uvloop
import websockets
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_plainly

from api.app import create_app
from api.feed.hub import FeedHub
from api.feed.limits import FeedLimits
from api.ports import Ports
from api.server import listen, serve
from benchmarks.feed import DECODER, payload
from infra.telemetry import Telemetry
from tests.api.access.keys import EVERYBODY
from tests.api.fakes import HistoryList, LatestList, StatusList

SYMBOLS: Final = 50
BARS_S: Final = 50
FIREHOSE_S: Final = 500
STORM: Final = 100
DRAINS: Final = 100
BATCH: Final = 20
DEEP: Final = 32 * 1024
"""Nobody may have more than this waiting when the price is taken: a delivery that is dropped is none."""


def api(limits: FeedLimits | None = None) -> tuple[FeedHub, Callable[[socket.socket], None]]:
    """A hub, and what serves it."""
    telemetry = Telemetry()
    hub = FeedHub(telemetry, time.time_ns, limits)
    ports = Ports(LatestList(), HistoryList(), StatusList(), telemetry, telemetry.exposition, time.time_ns, EVERYBODY)
    return hub, lambda listener: serve(create_app(ports, hub, version="bench"), hub, listener)


def rss() -> int:
    """Bytes of memory of this process."""
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * resource.getpagesize()


def crowd_server(port: Any, found: Any, clients: int) -> None:
    """The API, what it publishes, and its memory: before anybody came, and with everybody there."""
    hub, run = api(FeedLimits(max_clients=clients + 2 * STORM, max_connections=clients + 2 * STORM))

    def publish() -> None:
        hub.publish_many([("bars", f"S{k}", payload("S", k, 0)) for k in range(SYMBOLS)])
        n, due = 0, time.monotonic()
        while True:
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic_ns()
            bars = [("bars", f"S{(n + k) % SYMBOLS}", payload("S", n, now)) for k in range(BARS_S // 50)]
            hub.publish_many([*bars, *[("outcomes", "HOSE", payload("HOSE", n, now))] * (FIREHOSE_S // 50)])
            n += BARS_S // 50
            if len(hub.clients) == 0:
                found["rss_before"] = rss()
            elif len(hub.clients) >= clients:
                found["rss_with_all"] = max(found.get("rss_with_all", 0), rss())
                found["clients_with_all"] = max(found.get("clients_with_all", 0), len(hub.clients))
            found["cpu_s"] = time.process_time()

    listener = listen("127.0.0.1", 0)
    threading.Thread(target=publish, daemon=True).start()
    port.value = listener.getsockname()[1]
    run(listener)


def subscribed(port: int, op: bytes, receive_bytes: int = 0) -> socket.socket:
    """A raw client that has subscribed, and has read nothing but the handshake."""
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    if client.recv(12) != b"HTTP/1.1 101":
        raise OSError("the server refuses us")
    client.sendall(bytes([0x81, 0x80 | len(op), 0, 0, 0, 0]) + op)
    return client


HOSE: Final = b'{"op":"subscribe","channels":["outcomes"],"symbols":["*"]}'


async def healthy(port: int, n: int, took: list[tuple[int, int]], gate: asyncio.Semaphore) -> None:
    """One client of the crowd, until it is cancelled: (when, latency) of everything that comes."""
    url = f"ws://127.0.0.1:{port}/v1/stream"
    async with gate:
        connection = await websockets.connect(url, compression=None, open_timeout=60, max_queue=4)
    async with connection:
        await connection.send(json.dumps({"op": "subscribe", "channels": ["bars"], "symbols": [f"S{n % SYMBOLS}"]}))
        while True:
            for message in DECODER.decode(await connection.recv()):
                if message.data is not None:
                    now = time.monotonic_ns()
                    took.append((now, now - message.data.ts_ingest))


async def slow(port: int) -> None:
    """20 kB a second."""
    loop = asyncio.get_running_loop()
    while True:
        client = await asyncio.to_thread(subscribed, port, HOSE, 4_096)
        client.setblocking(False)
        with suppress(OSError):
            while await loop.sock_recv(client, 2_000):
                await asyncio.sleep(0.1)
        client.close()


async def storm(port: int, stormed: list[int]) -> None:
    """Connect, subscribe, hear something, go; again and again."""
    while True:
        with suppress(OSError, TimeoutError, websockets.WebSocketException):
            async with websockets.connect(f"ws://127.0.0.1:{port}/v1/stream", compression=None, close_timeout=1) as one:
                await one.send('{"op":"subscribe","channels":["predictions","bars"],"symbols":["*"]}')
                await one.recv()
                stormed[0] += 1
        await asyncio.sleep(random.uniform(0.5, 1.5))


async def crowd(port: int, clients: int, seconds: float, found: Any) -> dict[str, Any]:
    """Fill the room, wait, measure calm, measure in the storm."""
    took: list[tuple[int, int]] = []
    gate, stormed = asyncio.Semaphore(20), [0]
    tasks = [asyncio.create_task(healthy(port, n, took, gate)) for n in range(clients)]
    while found.get("clients_with_all", 0) < clients:
        if any(task.done() for task in tasks):
            raise RuntimeError(f"a client ended: {next(task for task in tasks if task.done())}")
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    stalled = subscribed(port, HOSE, 4_096)
    tasks.append(asyncio.create_task(slow(port)))
    cpu, began = found["cpu_s"], time.monotonic_ns()
    await asyncio.sleep(seconds / 2)
    storming = time.monotonic_ns()
    tasks += [asyncio.create_task(storm(port, stormed)) for _ in range(STORM)]
    await asyncio.sleep(seconds / 2)
    ended = time.monotonic_ns()
    alive = sum(not task.done() for task in tasks[:clients])
    used = (found["cpu_s"] - cpu) / seconds
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stalled.close()
    calm, wild = (
        [ms / 1e6 for at, ms in took if low <= at < high] for low, high in ((began, storming), (storming, ended))
    )
    quantiles = {
        f"{name}_p{q}_ms": round(float(np.percentile(of, q)), 1)
        for name, of in (("calm", calm), ("storm", wild))
        for q in (50, 99)
    }
    return {
        "clients": clients, "alive_at_the_end": alive, "reconnects_in_the_storm": stormed[0],
        "deliveries_per_s": round((len(calm) + len(wild)) / seconds),
        **quantiles,
        "kib_per_client": round((found["rss_with_all"] - found["rss_before"]) / clients / 1024, 1),
        "server_cores": round(used, 2),
    }  # fmt: skip


def drain(port: int, path: bytes, stop: Any) -> None:
    """Clients that take everything and look at nothing."""
    clients = [subscribed(port, path) for _ in range(DRAINS)]
    waiting = {client.fileno(): client for client in clients}
    poll = select.epoll()
    for number, client in waiting.items():
        client.setblocking(False)
        poll.register(number, 1)
    while not stop.is_set():
        for number, _ in poll.poll(0.2):
            with suppress(BlockingIOError):
                waiting[number].recv(1 << 20)


def price_of_hub(port: Any, result: Any, seconds: float) -> None:
    """Deliveries and CPU seconds of this process, through the hub."""
    hub, run = api()
    body = payload("SIMA", 1, 1)

    def publish() -> None:
        while len([c for c in list(hub.clients) if c.subscriptions.wants("bars", "SIMA")]) < DRAINS:
            time.sleep(0.05)
        cpu, end, n = time.process_time(), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            hub.publish_many([("bars", "SIMA", body)] * BATCH)
            n += BATCH
            while hub.messages < n or max(c.outbox.chars for c in list(hub.clients)) > DEEP:
                time.sleep(0.0005)
        result.update(deliveries=n * DRAINS, cpu_s=time.process_time() - cpu, lost=DRAINS - len(hub.clients))
        os.kill(os.getpid(), 15)

    listener = listen("127.0.0.1", 0)
    threading.Thread(target=publish, daemon=True).start()
    port.value = listener.getsockname()[1]
    run(listener)


def price_of_broadcast(port: Any, result: Any, seconds: float) -> None:
    """The same through `websockets.broadcast`: no numbers, no queues, no bounds."""
    data = payload("SIMA", 1, 1).decode()
    message = f'[{{"type":"update","channel":"bars","symbol":"SIMA","seq":100000,"data":{data}}}]'

    async def run() -> None:
        there: set[ServerConnection] = set()

        async def accept(connection: ServerConnection) -> None:
            await connection.recv()
            there.add(connection)
            await connection.wait_closed()

        async with serve_plainly(accept, "127.0.0.1", 0, compression=None) as server:
            port.value = next(iter(server.sockets)).getsockname()[1]
            while len(there) < DRAINS:
                await asyncio.sleep(0.05)
            cpu, end, n = time.process_time(), time.monotonic() + seconds, 0
            while time.monotonic() < end:
                for _ in range(BATCH):
                    broadcast(there, message)
                n += BATCH
                await asyncio.sleep(0)
                while max(each.transport.get_write_buffer_size() for each in there) > DEEP:
                    await asyncio.sleep(0.0005)
            result.update(deliveries=n * DRAINS, cpu_s=time.process_time() - cpu, lost=DRAINS - len(there))

    uvloop.run(run())


def priced(server: Callable[..., None], seconds: float) -> dict[str, Any]:
    """One server with its drains, each a process."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        port, result, stop = context.Value("i", 0), manager.dict(), context.Event()
        serving = context.Process(target=server, args=(port, result, seconds))
        serving.start()
        while port.value == 0:
            time.sleep(0.05)
        op = b'{"op":"subscribe","channels":["bars"],"symbols":["*"]}'
        draining = context.Process(target=drain, args=(port.value, op, stop))
        draining.start()
        serving.join(seconds + 120)
        stop.set()
        draining.join(10)
        return dict(result)


def main() -> None:
    """Both questions, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--price-seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        port, told = context.Value("i", 0), manager.dict()
        process = context.Process(target=crowd_server, args=(port, told, arguments.clients))
        process.start()
        while port.value == 0:
            time.sleep(0.05)
        try:
            found = uvloop.run(crowd(port.value, arguments.clients, arguments.seconds, told))
        finally:
            process.terminate()
            process.join(10)
    for name, server in (("hub", price_of_hub), ("broadcast", price_of_broadcast)):
        result = priced(server, arguments.price_seconds)
        found[f"{name}_deliveries_per_core_s"] = round(result["deliveries"] / result["cpu_s"])
        found[f"{name}_lost"] = result["lost"]
    found["hub_to_broadcast"] = round(found["hub_deliveries_per_core_s"] / found["broadcast_deliveries_per_core_s"], 2)
    print(json.dumps(found) if arguments.json else "\n".join(f"{name:32} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()

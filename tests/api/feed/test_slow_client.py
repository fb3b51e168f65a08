"""A client that does not read: it is let go, it costs little memory, and the others do not notice."""

import asyncio
import re
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from api.feed.messages import SLOW_CLIENT
from api.server import FeedServer
from tests.api.fakes import FeedClient, World, client_of, serving, world

MEGABYTE = 1_000_000
ESTABLISHED = "01"
pytestmark = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="reads the kernel's queues from Linux's /proc"
)


def stalled_reader(address: str) -> socket.socket:
    """A raw client that subscribes to everything and then never reads again."""
    host, port = address.split(":")
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stalled.connect((host, int(port)))
    stalled.sendall(
        f"GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert stalled.recv(12) == b"HTTP/1.1 101"
    op = b'{"op":"subscribe","channels":["predictions","bars"],"symbols":["*"]}'
    stalled.sendall(bytes([0x81, 0x80 | len(op), 0, 0, 0, 0]) + op)
    return stalled


def send_queue(server_port: int, client_port: int) -> int | None:
    """Bytes in the kernel that the client has not taken; none where the connection is gone."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(fields[n].split(":")[1], 16) for n in (1, 2)]
        if ports == [server_port, client_port] and fields[3] == ESTABLISHED:
            return int(fields[4].split(":")[0], 16)
    return None


@dataclass
class Load:
    """2,000 messages of 350 bytes a second on a thread, as a consumer would, until it is stopped."""

    of: World
    published: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._thread.join()

    def _run(self) -> None:
        body = b'{"n":%%d,"pad":"%b"}' % (b"x" * 330)
        while not self.stopped.wait(0.01):
            numbers = range(self.published, self.published + 20)
            self.of.hub.publish_many([("bars" if n % 4 == 0 else "predictions", "SIMA", body % n) for n in numbers])
            self.published += 20


def queued(of: World, server: FeedServer, ports: tuple[int, int], slow: object) -> int:
    """What waits for the client in our queue, in the transport, and in the kernel."""
    ours = sum(client.outbox.chars for client in list(of.hub.clients) if client is slow)
    transports = [one.transport for one in list(server.server_state.connections)]
    buffered = sum(one.get_write_buffer_size() for one in transports if one.get_extra_info("peername")[1] == ports[1])
    return ours + buffered + (send_queue(*ports) or 0)


def test_a_reader_that_stands_still_is_gone_within_ten_seconds_and_a_megabyte() -> None:
    of = world()

    async def watch(address: str, server: FeedServer) -> None:
        async with client_of(address) as healthy:
            await healthy.subscribe("predictions", "bars")
            stalled = await asyncio.to_thread(stalled_reader, address)
            async with asyncio.timeout(30):
                while len(of.hub.clients) < 2:
                    await asyncio.sleep(0.01)
            slow = list(of.hub.clients)[1]
            ports = (int(address.split(":")[1]), stalled.getsockname()[1])
            loop = asyncio.get_running_loop()
            with Load(of) as load:
                began, most = loop.time(), 0
                reading = asyncio.create_task(read_all(healthy, load))
                while slow in of.hub.clients or send_queue(*ports) is not None:
                    most = max(most, queued(of, server, ports, slow))
                    assert loop.time() - began < 10
                    await asyncio.sleep(0.02)
            print(f"gone after {loop.time() - began:.1f} s with {most:,} bytes at most")
            assert 100_000 < most < MEGABYTE
            assert (await reading) == load.published
            stalled.close()

    with serving(of) as (address, server):
        asyncio.run(watch(address, server))
    told = re.findall(rb'tickwire_feed_closed_total{reason="(.*)"} (.)', of.telemetry.exposition())
    reasons = sorted(reason for reason, times in told for _ in range(int(times)))
    # whoever notices first: our queue, our send, or the kernel, which ends the connection as if the client had left
    assert reasons in ([b"client_left", each] for each in (b"client_left", b"slow_client", b"stalled"))


async def read_all(client: FeedClient, load: Load) -> int:
    """Read until the load has stopped and everything has come; every number must follow the one before."""
    last = {"predictions": 0, "bars": 0}
    while sum(last.values()) < load.published or not load.stopped.is_set():
        message = await client.next(heartbeats=True)
        if message["type"] == "heartbeat":
            continue
        assert (message["type"], message["seq"]) == ("update", last[message["channel"]] + 1)
        assert "conflated" not in message
        last[message["channel"]] += 1
    return sum(last.values())


def test_a_reader_too_slow_for_bars_is_told_its_gap_and_closed() -> None:
    of = world(queue_chars=20_000, behind_chars=10_000, frame_chars=10_000)

    async def conversation(address: str) -> None:
        async with client_of(address) as healthy, client_of(address, max_queue=1) as slow:
            await healthy.subscribe("bars")
            await slow.subscribe("bars")
            slow.socket.transport.pause_reading()
            published = 0
            while len(of.hub.clients) == 2 and not any(c.outbox.closing for c in list(of.hub.clients)):
                await asyncio.to_thread(of.hub.publish_many, [("bars", "SIMA", b'"%b"' % (b"x" * 900))] * 10)
                published += 10
                for _ in range(10):
                    await healthy.next()
            slow.socket.transport.resume_reading()
            seqs = []
            while (message := await slow.next())["type"] == "update":
                seqs.append(message["seq"])
            assert seqs == list(range(1, len(seqs) + 1))
            assert message == {
                "type": "gap", "channel": "bars", "symbol": "SIMA", "from": len(seqs) + 1, "to": published,
                "reason": "slow_client",
            }  # fmt: skip
            await slow.socket.wait_closed()
            assert (slow.socket.close_code, slow.socket.close_reason) == (SLOW_CLIENT, "slow_client")

    with serving(of) as (address, _):
        asyncio.run(conversation(address))
    assert b'tickwire_feed_gaps_total{reason="slow_client"} 1.0' in of.telemetry.exposition()


def test_a_reader_too_slow_for_predictions_gets_fewer_but_the_newest() -> None:
    of = world(queue_chars=20_000, behind_chars=10_000, frame_chars=10_000)

    async def conversation(address: str) -> None:
        async with client_of(address, max_queue=1) as slow:
            await slow.subscribe("predictions")
            slow.socket.transport.pause_reading()
            published = 0
            for _ in range(40):  # 20 MB: more than both ends' socket buffers take
                await asyncio.to_thread(of.hub.publish_many, [("predictions", "SIMA", b'"%b"' % (b"x" * 900))] * 500)
                published += 500
            await asyncio.to_thread(of.hub.publish_many, [("predictions", "SIMA", b'"the newest"')] * 500)
            published += 500
            slow.socket.transport.resume_reading()
            last, skipped = 0, 0
            while last < published:
                message = await slow.next()
                assert message["seq"] == last + 1 + message.get("conflated", 0)
                last, skipped = message["seq"], skipped + message.get("conflated", 0)
            assert message["data"] == "the newest"
            assert skipped > 100

    with serving(of) as (address, _):
        asyncio.run(conversation(address))


def test_a_flood_of_pings_that_nobody_reads_the_answers_of_is_bounded() -> None:
    of = world(queue_chars=2_000)
    hub = of.hub
    client = hub.join()
    for _ in range(1_000):
        client.outbox.put(msgspec.json.encode({"type": "pong"}).decode())
    assert client.outbox.chars <= 2_000
    assert client.outbox.closing == SLOW_CLIENT

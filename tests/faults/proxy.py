"""A TCP proxy that misbehaves on order, to be put in front of Kafka, ClickHouse and Redis.

    with ChaosProxy(9092) as proxy:          # clients connect to proxy.port
        proxy.set(Fault.delay(0.5))
        proxy.set(Fault.drop_reply(b"INSERT"))
        proxy.heal()

It changes no byte, except that a Kafka broker's own address becomes the proxy's in its answers, else clients would go past it.
It runs on a thread of its own. A fault holds for open connections and for new ones, from the moment `set` returns.
"""

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, Self

from tests.services.processes import HOST

CHUNK: Final = 65_536
TICK_S: Final = 0.02
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: close sends RST instead of FIN."""
Side = Literal["client", "server"]
Kind = Literal["calm", "delay", "throttle", "blackhole", "refuse", "reset", "half_close", "cut", "drop_reply"]


@dataclass(frozen=True)
class Fault:
    """What the proxy does instead of passing bytes on."""

    kind: Kind = "calm"
    delay_s: float = 0.0
    bytes_per_s: float = math.inf
    towards: Side = "client"
    after: int = 0
    matching: bytes = b""
    """The fault waits on each connection until a piece that its client sent contains this."""
    times: int = 0
    """After so many connections that it hit the proxy is calm again; 0 for never."""

    @classmethod
    def delay(cls, seconds: float) -> Self:
        """Every piece (64 KiB at most) comes so much later, in both directions."""
        return cls("delay", delay_s=seconds)

    @classmethod
    def throttle(cls, bytes_per_s: float) -> Self:
        """At most so many bytes a second, per connection and direction."""
        return cls("throttle", bytes_per_s=bytes_per_s)

    @classmethod
    def blackhole(cls) -> Self:
        """Connections are accepted and what they send is swallowed; those that lost bytes are reset when it is over."""
        return cls("blackhole")

    @classmethod
    def refuse(cls) -> Self:
        """Nobody listens, and open connections are reset: what a killed server looks like."""
        return cls("refuse")

    @classmethod
    def reset(cls) -> Self:
        """The next piece in either direction becomes a RST."""
        return cls("reset")

    @classmethod
    def half_close(cls, towards: Side = "client") -> Self:
        """The next piece towards this side becomes a FIN; the other direction stays open."""
        return cls("half_close", towards=towards)

    @classmethod
    def cut(cls, after: int, towards: Side = "client", *, matching: bytes = b"", times: int = 0) -> Self:
        """RST once so many bytes have passed towards this side, counted from the fault's beginning."""
        return cls("cut", towards=towards, after=after, matching=matching, times=times)

    @classmethod
    def drop_reply(cls, matching: bytes = b"", *, times: int = 0) -> Self:
        """The request passes, its answer is swallowed, then RST: the client cannot know what became of it."""
        return cls("drop_reply", matching=matching, times=times)


CALM: Final = Fault()


class ChaosProxy:
    """In front of `target` on 127.0.0.1; `port` is its own; a context manager.

    `kafka`: whether brokers that name 127.0.0.1:`target` as theirs are behind it.
    `hits`: connections that cut, drop_reply, reset or half_close has struck.
    """

    def __init__(self, target: int, *, kafka: bool = False) -> None:
        self.target, self.kafka, self.fault, self.hits = target, kafka, CALM, 0
        self.connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault) -> None:
        """From now on."""
        self._do(lambda: self._change(fault))

    def heal(self) -> None:
        """Pass everything on again."""
        self.set(CALM)

    def moved(self, answer: bytes) -> bytes:
        """An answer of a broker with the proxy's address for its own; their length is the same."""
        name = HOST.encode()
        return answer.replace(name + self.target.to_bytes(4, "big"), name + self.port.to_bytes(4, "big"))

    def struck(self, connection: "_Connection") -> None:
        """A connection met its fault."""
        connection.reset()
        self.hits += 1
        if self.fault.times and self.hits >= self.fault.times:
            self.fault = CALM

    def _do(self, what: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await what()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _change(self, fault: Fault) -> None:
        self.fault, self.hits = fault, 0
        if fault.kind == "refuse":
            await self._stop_listening()
        for connection in list(self.connections):
            connection.begin()
            if connection.lost or fault.kind == "refuse":
                connection.reset()
        if fault.kind != "refuse":
            await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port, reuse_address=True)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        """Nobody new is let in, and whoever is at the door is in before it closes: asyncio forgets them otherwise (3.11)."""
        if self._server is not None:
            server, self._server = self._server, None
            for listener in server.sockets:
                self._loop.remove_reader(listener.fileno())
            await asyncio.sleep(TICK_S)
            server.close()

    async def _close(self) -> None:
        await self._stop_listening()
        for connection in list(self.connections):
            connection.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(TICK_S)  # what was reset is closed by the loop

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from here on, also where its task is cancelled before it has begun."""
        connection = _Connection(self, reader, writer)
        self.connections.add(connection)
        task = asyncio.get_running_loop().create_task(self._carry(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, connection: "_Connection") -> None:
        try:
            await connection.run()
        except asyncio.CancelledError:
            return  # the proxy is being closed
        finally:
            self.connections.discard(connection)


class _Connection:
    def __init__(self, proxy: ChaosProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._server: asyncio.StreamWriter | None = None
        self.lost = False
        self.begin()

    def begin(self) -> None:
        """A fault begins: nothing has passed since, and nobody has said its word."""
        self._passed: dict[Side, int] = {"client": 0, "server": 0}
        self._armed = not self._proxy.fault.matching

    async def run(self) -> None:
        """Until either side has gone or a fault ends it."""
        try:
            while self._proxy.fault.kind == "blackhole":  # it answers nobody, so there is nothing to connect to
                if not await self._swallowed():
                    return
            reader, self._server = await asyncio.open_connection(HOST, self._proxy.target)
            await asyncio.gather(
                self._pump(self._reader, self._server, "server"), self._pump(reader, self._writer, "client")
            )
        except OSError:
            return
        finally:
            self.reset()

    async def _swallowed(self) -> bool:
        try:
            async with asyncio.timeout(TICK_S):
                piece = await self._reader.read(CHUNK)
        except TimeoutError:
            return True
        self.lost = True
        return bool(piece)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, towards: Side) -> None:
        while piece := await source.read(CHUNK):
            await self._pass(piece, sink, towards)
            if sink.is_closing():
                return
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()

    async def _pass(self, piece: bytes, sink: asyncio.StreamWriter, towards: Side) -> None:
        fault = self._proxy.fault
        if self._proxy.kafka and towards == "client":
            piece = self._proxy.moved(piece)
        if towards == "server" and fault.matching and fault.matching in piece:
            self._armed = True
        if fault.kind == "delay":
            await asyncio.sleep(fault.delay_s)
        elif fault.kind == "throttle":
            await self._trickle(piece, sink, fault.bytes_per_s)
            return
        elif fault.kind == "blackhole":
            self.lost = True
            return
        elif self._armed and not await self._spared(fault, piece, sink, towards):
            return
        sink.write(piece)
        await sink.drain()

    async def _spared(self, fault: Fault, piece: bytes, sink: asyncio.StreamWriter, towards: Side) -> bool:
        """Whether this piece passes in spite of a fault that ends connections."""
        if fault.kind == "half_close" and towards == fault.towards:
            self._proxy.hits += 1
            sink.write_eof()
        elif fault.kind == "reset" or (fault.kind == "drop_reply" and towards == "client"):
            self._proxy.struck(self)
        elif fault.kind == "cut" and towards == fault.towards:
            left = fault.after - self._passed[towards]
            self._passed[towards] += len(piece)
            if len(piece) < left:
                return True
            sink.write(piece[:left])
            await sink.drain()
            await asyncio.sleep(TICK_S)  # a RST overtakes what the kernel has not sent yet
            self._proxy.struck(self)
        else:
            return True
        return False

    async def _trickle(self, piece: bytes, sink: asyncio.StreamWriter, bytes_per_s: float) -> None:
        step = max(1, int(bytes_per_s * TICK_S))
        for at in range(0, len(piece), step):
            if self._proxy.fault.kind != "throttle":
                step = len(piece)  # over: the rest at once
            sink.write(piece[at : at + step])
            await sink.drain()
            if step == len(piece):
                return
            await asyncio.sleep(TICK_S)

    def reset(self) -> None:
        """RST to both sides."""
        for writer in (self._writer, self._server):
            if writer is not None and not writer.transport.is_closing():
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()

"""The long poll that the embedded broker lacks: `python -m infra.embedded.long_poll --listen PORT --broker PORT`.

noida-db 0.2.3 answers a Fetch at once, whatever `max_wait_ms` it names: every idle consumer asks some ten thousand times a
second and takes a core (measured: 40 % of one in the broker and 57 % in the client, for one consumer of four idle
partitions). This relay holds an empty answer until somebody has produced or the wait is over, and asks the broker again
in the consumer's place. Everything else passes through as it is.

It also notes how far the events log reaches as its writers are told (`infra.embedded.acknowledged`): the broker forgets the end
of its log when it is killed, and nobody else knows what is missing then.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from infra.embedded.acknowledged import Acknowledged
from infra.embedded.kafka_produce import NO_RESPONSE, Produce, first_offsets, produce_of
from infra.embedded.kafka_wire import (
    FETCH,
    NAMES_BROKERS,
    PRODUCE,
    REQUEST_HEAD,
    RESPONSE_HEAD,
    Fetch,
    Frames,
    fetch_of,
    is_empty,
    moved,
)
from infra.embedded.ports import HOST

SMALL: Final = 65_536
"""Bytes; a Fetch response above brings records for sure."""
NOTED: Final = frozenset({FETCH, PRODUCE})
GATHER_S: Final = 0.002
"""Consumers are woken at most this often: one wake-up serves many produced batches."""


@dataclass(slots=True)
class Asked:
    """A request that waits for its response; `frame` only of a Fetch that may be held, `produce` of one to the events log."""

    key: int
    produce: Produce | None = None
    fetch: Fetch | None = None
    frame: bytes = b""
    deadline: float = 0.0
    writes: int = 0
    """How much had been written when the broker was asked."""


class Relay:
    """All connections, and the consumers that wait for records."""

    def __init__(self, listen: int, broker: int, acknowledged: Acknowledged, topic: bytes) -> None:
        self.listen, self.broker, self.acknowledged, self.topic = listen, broker, acknowledged, topic
        self.holding: set[Connection] = set()
        self.writes = 0
        self._waking = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), HOST, self.listen, backlog=512)
        async with server:
            await stop.wait()

    def produced(self) -> None:
        """Somebody wrote: ask again for everyone who waits, soon."""
        self.writes += 1
        if not self._waking and self.holding:
            self._waking = True
            asyncio.get_running_loop().call_later(GATHER_S, self._wake)

    def _wake(self) -> None:
        self._waking = False
        for connection in tuple(self.holding):
            connection.ask_again()


class Connection(asyncio.Protocol):
    """A client, and its connection to the broker."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._client: asyncio.Transport | None = None
        self._broker: asyncio.Transport | None = None
        self._asked: deque[Asked] = deque()
        self._requests = Frames(REQUEST_HEAD.size)
        self._responses = Frames(RESPONSE_HEAD.size)
        self._early = bytearray()
        """Requests that came before the broker was reached."""
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = cast(asyncio.Transport, transport)
        self._loop.create_task(self._reach_broker())

    async def _reach_broker(self) -> None:
        assert self._client is not None
        try:
            transport, _ = await self._loop.create_connection(lambda: _BrokerSide(self), HOST, self._relay.broker)
        except OSError:
            self._client.abort()
            return
        self._broker = transport
        if self._client.is_closing():
            transport.abort()
        elif self._early:
            self.data_received(bytes(self._early))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._let_go()
        self._nobody_will_hear()
        if self._broker is not None:
            self._broker.abort()

    def _nobody_will_hear(self) -> None:
        if any(asked.produce is not None for asked in self._asked):
            self._relay.acknowledged.missed()

    def broker_lost(self) -> None:
        """Nothing more will be answered."""
        self._let_go()
        self._nobody_will_hear()
        if self._client is not None:
            self._client.close()

    def pause_writing(self) -> None:
        """The client reads slowly: so do we."""
        if self._broker is not None:
            self._broker.pause_reading()

    def resume_writing(self) -> None:
        if self._broker is not None:
            self._broker.resume_reading()

    def broker_is_slow(self, slow: bool) -> None:
        """The broker reads slowly, or no longer does."""
        if self._client is not None and not self._client.is_closing():
            (self._client.pause_reading if slow else self._client.resume_reading)()

    def data_received(self, data: bytes) -> None:
        """Requests: note each, pass all on."""
        if self._broker is None:
            self._early += data
            return
        if self._held:
            self._answer_held()  # responses keep their order: what is asked now must not wait for records
        for frame, begins, whole in self._requests.parts(data, _is_noted):
            if begins and (asked := self._noted(bytes(frame), whole)) is not None:
                self._asked.append(asked)
        self._broker.write(data)

    def _noted(self, frame: bytes, whole: bool) -> Asked | None:
        """The request as it waits; None for one that gets no response."""
        _, key, _, _ = REQUEST_HEAD.unpack_from(frame)
        if whole and key == PRODUCE:
            return self._noted_produce(produce_of(frame, self._relay.topic))
        fetch = fetch_of(frame) if whole and key == FETCH else None
        if fetch is None:
            return Asked(key)
        return Asked(key, None, fetch, frame, self._loop.time() + fetch.max_wait_ms / 1000, self._relay.writes)

    def _noted_produce(self, produce: Produce | None) -> Asked | None:
        if produce is None or produce.acks == NO_RESPONSE:
            self._relay.acknowledged.missed()
            return Asked(PRODUCE) if produce is None else None
        if produce.records:
            self._relay.acknowledged.asked()
        return Asked(PRODUCE, produce if produce.records else None)

    def _taken(self, produce: Produce, response: bytes) -> None:
        """Note how far the log reaches, before its writer hears it."""
        first = first_offsets(response, produce.version, self._relay.topic)
        self._relay.acknowledged.answered({p: at + produce.records[p] for p, at in first.items()})

    def answered(self, data: bytes) -> None:
        """Responses: look at those to a Fetch and at those that name brokers, pass the others on as they come."""
        assert self._client is not None
        for part, begins, whole in self._responses.parts(data, self._wants_whole):
            if begins:
                asked = self._asked.popleft()
                if asked.key == PRODUCE:
                    if asked.produce is not None:
                        self._taken(asked.produce, bytes(part))
                    self._relay.produced()
                elif whole and asked.key in NAMES_BROKERS:
                    self._client.write(moved(bytes(part), HOST, self._relay.broker, self._relay.listen))
                    continue
                elif whole and asked.fetch is not None and self._hold(asked, bytes(part)):
                    continue
            self._client.write(part)

    def _wants_whole(self, _head: bytes, length: int) -> bool:
        """Whether the response that begins is looked at."""
        asked = self._asked[0]
        return (
            asked.key in NAMES_BROKERS
            or asked.produce is not None
            or (asked.key == FETCH and asked.fetch is not None and length < SMALL)
        )

    def _hold(self, asked: Asked, response: bytes) -> bool:
        """Keep an empty response back while the client may wait, has asked for nothing else and has not begun to."""
        assert asked.fetch is not None
        if (
            self._asked
            or not self._requests.between
            or self._loop.time() >= asked.deadline
            or not is_empty(response, asked.fetch.version)
        ):
            return False
        self._asked.appendleft(asked)
        if asked.writes != self._relay.writes:  # the broker may have answered before the write that we have seen since
            self._ask()
            return True
        self._held = response
        self._relay.holding.add(self)
        self._timer = self._loop.call_at(asked.deadline, self._answer_held)
        return True

    def ask_again(self) -> None:
        """There may be records now."""
        self._let_go()
        self._ask()

    def _ask(self) -> None:
        assert self._broker is not None
        asked = self._asked[0]
        asked.writes = self._relay.writes
        self._broker.write(asked.frame)

    def _answer_held(self) -> None:
        held = self._held
        self._let_go()
        self._asked.popleft()
        if self._client is not None:
            self._client.write(held)

    def _let_go(self) -> None:
        self._held = b""
        self._relay.holding.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _BrokerSide(asyncio.Protocol):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        self._connection.answered(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._connection.broker_lost()

    def pause_writing(self) -> None:
        self._connection.broker_is_slow(True)

    def resume_writing(self) -> None:
        self._connection.broker_is_slow(False)


def _is_noted(head: bytes, _length: int) -> bool:
    return REQUEST_HEAD.unpack(head)[1] in NOTED


async def _serve(relay: Relay) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    relay.acknowledged.begin()
    await relay.run(stop)


def main() -> int:
    """Relay until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True, help="port of 127.0.0.1 for clients")
    parser.add_argument("--broker", type=int, required=True, help="port of 127.0.0.1 at which the broker listens")
    parser.add_argument("--data", type=Path, required=True, help="where the broker keeps its data")
    parser.add_argument("--topic", required=True, help="the events log, whose reach is noted")
    arguments = parser.parse_args()
    run = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        run = uvloop.run
    acknowledged = Acknowledged(arguments.data)
    run(_serve(Relay(arguments.listen, arguments.broker, acknowledged, arguments.topic.encode())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

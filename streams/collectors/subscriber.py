"""Keeps one WebSocket subscription alive: reads, notices silence, reconnects with patience, writes what the feed says."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from schemas.errors import InputError, SchemaError
from schemas.events import Event
from schemas.rows import DeadLetter
from streams.ports import Clock, EventWriter, Meter

LOG: Final = logging.getLogger(__name__)
RAW_BYTES: Final = 65_536
POLL_S: Final = 0.1
"""How often `stop` and the silence are looked at."""
BATCH: Final = 1_000
"""Messages that are read at once, at most."""
TRY_AGAIN: Final = frozenset({408, 425, 429})
"""Refusals of a handshake that pass; any other 4xx will be the same tomorrow."""


class Feed(Protocol):
    """What one provider's messages mean; see `coinbase_feed.py`."""

    @property
    def source(self) -> str:
        """Its name in metrics and dead letters."""

    @property
    def hello(self) -> str:
        """The message that subscribes."""

    def connected(self, now_ns: Callable[[], int]) -> list[Event]:
        """The subscription was answered; events that were missed. `now_ns`: the clock, for what takes its time."""

    def read(self, payload: bytes, ts_ingest: int) -> list[Event]:
        """The events of a message. Raises: `SchemaError`, `InputError`."""

    def lost(self, ts_ingest: int) -> list[Event]:
        """The connection is gone."""

    def silent(self, now_ns: int, after_ns: int) -> list[str]:
        """What nothing was heard of for so long."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    first_s, most_s   the first pause before a new connection, and the longest; each is twice the last, jittered
    healthy_s         a connection that lasted so long starts the pauses anew
    silent_s          without a message for so long, it is dead, whatever its pings say
    """

    first_s: float = 0.5
    most_s: float = 30.0
    healthy_s: float = 60.0
    silent_s: float = 10.0
    open_s: float = 10.0

    def pause_s(self, failures: int, luck: float) -> float:
        """Before the next attempt, after `failures` in a row (from 1); `luck` in [0, 1) spreads the herd."""
        return float(min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30)) * (0.5 + 0.5 * luck))


class SilentFeed(Exception):
    """The connection is open and says nothing."""


class Subscriber:
    """Runs a feed until told to stop.

    url        of the WebSocket
    max_queue  messages that wait in memory; more wait at the exchange, which may drop a reader this slow
    """

    def __init__(
        self, url: str, feed: Feed, writer: EventWriter, clock: Clock, meter: Meter,
        *, patience: Patience | None = None, max_queue: int = 4_096, seed: int | None = None,
    ) -> None:  # fmt: skip
        self._url, self._feed, self._writer, self._clock, self._meter = url, feed, writer, clock, meter
        self._patience = patience or Patience()
        self._max_queue = max_queue
        self._luck = np.random.default_rng(seed)
        self._messages = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Read until `stop` is true; reconnects by itself.

        Raises: `InputError` where the exchange refuses what was asked for; `DeliveryError` from the writer.
        """
        failures = 0
        while not stop():
            opened = time.monotonic()
            try:
                self._session(stop)
            except (WebSocketException, OSError, SilentFeed) as error:
                _raise_if_final(self._url, error)
                failures = 1 if time.monotonic() - opened > self._patience.healthy_s else failures + 1
                pause_s = self._patience.pause_s(failures, self._luck.random())
                LOG.warning("%s: %s; connecting again in %.1f s", self._url, error, pause_s)
                self._meter.count("tickwire_collect_reconnects_total", source=self._feed.source)
                self._pause(pause_s, stop)
        self._writer.flush()

    def _session(self, stop: Callable[[], bool]) -> None:
        """One connection, one subscription; what it has said is written when it ends, too."""
        patience = self._patience
        with connect(self._url, max_queue=self._max_queue, open_timeout=patience.open_s, close_timeout=1.0) as socket:
            socket.send(self._feed.hello)
            answer = _answer(socket, patience.silent_s, stop)
            try:
                self._write(self._feed.connected(self._clock.now_ns))
                self._read(answer)
                while not stop():
                    messages = _waiting(socket)
                    emptied_ns = self._clock.now_ns()
                    self._read(messages)  # may take long, where it fetches what is missing
                    if len(messages) < BATCH:
                        self._expect_life(emptied_ns)
            finally:
                self._write(self._feed.lost(self._clock.now_ns()))

    def _expect_life(self, emptied_ns: int) -> None:
        """Nothing waited at that time, and all that had come is read. Raises: `SilentFeed`."""
        silent_s = self._patience.silent_s
        if silent := self._feed.silent(emptied_ns, round(silent_s * 1e9)):
            raise SilentFeed(f"nothing heard of {', '.join(silent)} for {silent_s:g} s")

    def _read(self, payloads: Sequence[bytes]) -> None:
        """Write the events of some messages as one batch; what is no message becomes a dead letter."""
        events: list[Event] = []
        try:
            for payload in payloads:
                self._messages += 1
                now = self._clock.now_ns()
                try:
                    events.extend(self._feed.read(payload, now))
                except SchemaError as error:
                    self._writer.reject([self._letter(payload, error, now)])
                    self._meter.count("tickwire_collect_rejected_total", source=self._feed.source)
        finally:
            self._write(events)

    def _write(self, events: Sequence[Event]) -> None:
        if events:
            self._writer.write(events)
            self._meter.count("tickwire_collect_events_total", len(events), source=self._feed.source)

    def _letter(self, payload: bytes, error: SchemaError, now_ns: int) -> DeadLetter:
        wrong = isinstance(error.__cause__, msgspec.ValidationError)
        return DeadLetter(
            source=self._feed.source, partition=0, offset=self._messages,
            reason="invalid_value" if wrong else "undecodable", detail=str(error)[:1_000], ts_ingest=now_ns,
            raw=payload[:RAW_BYTES],
        )  # fmt: skip

    def _pause(self, seconds: float, stop: Callable[[], bool]) -> None:
        """Wait, but not past `stop`."""
        while seconds > 0 and not stop():
            self._clock.sleep(min(seconds, POLL_S))
            seconds -= POLL_S


def _answer(socket: ClientConnection, within_s: float, stop: Callable[[], bool]) -> list[bytes]:
    """The first message after the subscription; none where told to stop. Raises: `SilentFeed`."""
    deadline = time.monotonic() + within_s
    while not stop():
        messages = _waiting(socket, most=1)
        if messages:
            return messages
        if time.monotonic() > deadline:
            raise SilentFeed(f"no answer to the subscription for {within_s:g} s")
    return []


def _waiting(socket: ClientConnection, most: int = BATCH) -> list[bytes]:
    """Messages that have arrived, at most so many; waits for the first one a moment."""
    messages: list[bytes] = []
    try:
        messages.append(socket.recv(timeout=POLL_S, decode=False))
        while len(messages) < most:
            messages.append(socket.recv(timeout=0, decode=False))
    except TimeoutError:
        pass
    except WebSocketException:
        if not messages:  # else they are read first; the next call meets the closed connection again
            raise
    return messages


def _raise_if_final(url: str, error: Exception) -> None:
    """Some failures will be the same at the next attempt."""
    if isinstance(error, InvalidURI):
        raise InputError(f"{url!r} is no WebSocket address, expected ws://... or wss://...") from error
    if isinstance(error, InvalidStatus):
        code = error.response.status_code
        if 400 <= code < 500 and code not in TRY_AGAIN:
            raise InputError(
                f"{url} refused the connection with HTTP {code}; check the address and the region"
            ) from error

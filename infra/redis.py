"""The newest row of every symbol in Redis or Valkey: written by the flow, read by the API.

One hash a symbol, `tickwire:latest:{symbol}`, with `log_id`, `offset` and `payload` (a `Latest` as JSON). It is a cache with a
time to live: what is missing is unknown, never zero, and a flushed store fills up again with the next events.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
import redis
import redis.asyncio as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.failpoints import hit
from infra.together import Together
from schemas.errors import DatabaseUnavailable, SchemaError, StoreUnavailable
from schemas.rows import Latest

PREFIX: Final = "tickwire:latest:"
MARK: Final = "tickwire:told:{group}"
"""A key that is there as long as the store has forgotten nothing."""
# Offsets are compared as text: Lua's numbers are doubles, and exact only up to 2**53.
WRITE_NEWER: Final = """
local written, epoch, lineage = 0, tonumber(ARGV[2]), ARGV[3]
for i, key in ipairs(KEYS) do
  local log_id, offset, payload = ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  local stored = redis.call('HMGET', key, 'log_id', 'offset', 'epoch', 'lineage')
  local known, newer = stored[2], stored[4] == lineage and tonumber(stored[3]) > epoch
  if not newer and (stored[1] ~= log_id or #known < #offset or (#known == #offset and known < offset)) then
    redis.call('HSET', key, 'log_id', log_id, 'offset', offset, 'payload', payload, 'epoch', epoch, 'lineage', lineage)
    redis.call('PEXPIRE', key, ARGV[1])
    written = written + 1
  end
end
return written
"""
SCAN_COUNT: Final = 1000


class Writer(Protocol):
    """The right to write, as `infra.writers.Lease` has it."""

    @property
    def epoch(self) -> int:
        """Rises with every writer."""

    @property
    def lineage(self) -> str:
        """Among which epochs may be compared."""

    def check(self) -> None:
        """Return if this process may write; `WriterError` when it may not any more, `DatabaseUnavailable` in doubt."""


class LatestStore:
    """Newest row by symbol; safe to use from several threads.

    `url`: `redis://[user:password@]host:port/db`, `rediss://` for TLS. `ttl_s`: a symbol that was not written for so long is
    forgotten. `group`: who writes, for `forgot`. Raises: StoreUnavailable where Redis does not answer within `timeout_s` or
    refuses; SchemaError for a row that is not ours. `writer`: whose rows they are; an earlier one's replace nothing.
    """

    def __init__(
        self, url: str, *, ttl_s: float, timeout_s: float = 2, group: str = "0", prefix: str = PREFIX,
        writer: Writer | None = None,
    ) -> None:  # fmt: skip
        parts, self._prefix = urlsplit(url), prefix
        self._writer = writer
        self._mark = MARK.format(group=group)
        self._where = f"{parts.hostname}:{parts.port or 6379}{parts.path}"
        self._ttl_ms = round(ttl_s * 1000)
        self._url = url
        self._patience: dict[str, Any] = {
            "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "client_name": "tickwire",
        }  # fmt: skip
        self._client: Any = redis.Redis.from_url(
            url,
            **self._patience,
            retry=Retry(NoBackoff(), 1),  # once: an idle connection may have been closed by the other side
        )
        self._waiting: Any = None
        """The client of the event loop, once somebody asks there."""
        self._together = Together(self._payloads)
        self._write_newer = self._client.register_script(WRITE_NEWER)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Latest)

    def write(self, rows: Sequence[Latest]) -> int:
        """Store what is newer than what is there, in one call; returns how many were.

        A row of another log (`log_id`) replaces, for its offsets say nothing about age; one of an earlier writer never does.
        """
        if not rows:
            return 0
        arguments: list[str | int | bytes] = [self._ttl_ms, *self._permitted()]
        hit("latest.before_write")
        for row in rows:
            arguments += [row.log_id, row.src_offset, self._encoder.encode(row)]
        with self._wrapped():
            return int(self._write_newer([self._prefix + row.symbol for row in rows], arguments))

    def _permitted(self) -> tuple[int, str]:
        if self._writer is None:
            return 0, ""
        try:
            self._writer.check()
        except DatabaseUnavailable as error:
            raise StoreUnavailable(f"nothing is written to Redis at {self._where}: {error}") from error
        return self._writer.epoch, self._writer.lineage

    def read(self, symbol: str) -> Latest | None:
        """The newest row of a symbol; None where nothing is known of it (any more)."""
        with self._wrapped():
            payload = self._client.hget(self._prefix + symbol, "payload")
        return self._decoded(symbol, payload)

    async def fetch(self, symbol: str) -> Latest | None:
        """The same as `read`, for an event loop: without a thread, for which it would have to wait twice."""
        return self._decoded(symbol, await self._together.find(symbol))

    async def _payloads(self, symbols: Sequence[str]) -> Sequence[bytes | None]:
        if self._waiting is None:
            self._waiting = asynchronous.Redis.from_url(self._url, **self._patience, retry=AsyncRetry(NoBackoff(), 1))
        with self._wrapped():
            if len(symbols) == 1:
                return [await self._waiting.hget(self._prefix + symbols[0], "payload")]
            asked = self._waiting.pipeline(transaction=False)
            for symbol in symbols:
                asked.hget(self._prefix + symbol, "payload")
            return list(await asked.execute())

    async def aclose(self) -> None:
        """Close the connections of the event loop; they cannot be used from another one."""
        self._together = Together(self._payloads)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            await waiting.aclose()

    def _decoded(self, symbol: str, payload: bytes | None) -> Latest | None:
        try:
            return None if payload is None else self._decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise SchemaError(
                f"{self._prefix}{symbol} at {self._where} is not a row of ours: {error}; delete it"
            ) from error

    def rows(self) -> list[Latest]:
        """Every row that is ours; one that another build wrote is left out, and is replaced when its symbol trades."""
        keys = [self._prefix + symbol for symbol in self.symbols()]
        found: list[Latest] = []
        for at in range(0, len(keys), SCAN_COUNT):
            with self._wrapped():
                asked = self._client.pipeline(transaction=False)
                for key in keys[at : at + SCAN_COUNT]:
                    asked.hget(key, "payload")
                payloads = asked.execute()
            for payload in filter(None, payloads):
                with suppress(msgspec.MsgspecError):
                    found.append(self._decoder.decode(payload))
        return found

    def forgot(self) -> bool:
        """Whether everything that was told is gone (flushed, started anew), since the last call; true at the very first."""
        with self._wrapped():
            return bool(self._client.set(self._mark, 1, nx=True))

    def symbols(self) -> list[str]:
        """Every symbol that has a row, in alphabetical order."""
        with self._wrapped():
            keys = {key.decode() for key in self._client.scan_iter(f"{self._prefix}*", count=SCAN_COUNT)}
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise StoreUnavailable(
                f"Redis at {self._where} did not do what it was asked: {error}; is it running, and may we write there?"
            ) from error

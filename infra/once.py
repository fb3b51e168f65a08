"""The API's `OnceStore` in Redis."""

from typing import Final

import msgspec
import redis

from api.once import KeptAnswer
from schemas.errors import StoreUnavailable

PREFIX: Final = "tickwire:once:"
_DECODER: Final = msgspec.msgpack.Decoder(KeptAnswer)


class RedisOnce:
    """One key a request; a claim that its process did not live to keep runs out."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def claim(self, name: str, answer: KeptAnswer, within_s: float) -> KeptAnswer | None:
        """Set where there is none. (`SET NX GET` in one step wants Redis 7.)"""
        try:
            while True:
                if self._client.set(PREFIX + name, msgspec.msgpack.encode(answer), nx=True, px=round(within_s * 1000)):
                    return None
                before = self._client.get(PREFIX + name)
                if before is not None:  # else it ran out in between
                    return _DECODER.decode(before)  # type: ignore[arg-type]
        except redis.RedisError as error:
            raise _silent(error) from error

    def keep(self, name: str, answer: KeptAnswer, within_s: float) -> None:
        """Set whatever is there."""
        try:
            self._client.set(PREFIX + name, msgspec.msgpack.encode(answer), px=round(within_s * 1000))
        except redis.RedisError as error:
            raise _silent(error) from error

    def release(self, name: str) -> None:
        """Delete."""
        try:
            self._client.delete(PREFIX + name)
        except redis.RedisError as error:
            raise _silent(error) from error


def _silent(error: redis.RedisError) -> StoreUnavailable:
    return StoreUnavailable(f"Redis did not answer about an Idempotency-Key: {error}")

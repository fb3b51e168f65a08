"""How often a caller may ask, counted in Redis for all API processes together; by each for itself while Redis is away."""

import time
from collections.abc import Mapping
from typing import Final

import limits
import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

from api.access.ports import Allowance
from api.ports import Meter
from infra.settings import Rates
from schemas.errors import SettingsError

ANSWER_S: Final = 0.25
"""How long Redis may take: a request waits for it."""
CONNECT_S: Final = 1.0
AWAY_S: Final = 5.0
"""How long Redis is left alone after it did not answer."""


class RateLimiter:
    """`api.access.ports.Limiter` over the `limits` package: an exact moving window for each caller and kind of request."""

    def __init__(self, rates: Rates, redis_url: str, meter: Meter) -> None:
        self._rates, self._meter = parsed(rates), meter
        self._pool = ConnectionPool.from_url(
            redis_url, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S, client_name="tickwire"
        )
        storage = RedisStorage(
            f"async+{redis_url}", wrap_exceptions=True, implementation="redispy", key_prefix="tickwire:rate",
            connection_pool=self._pool,  # type: ignore[arg-type]  # its annotation knows texts and numbers only
        )  # fmt: skip
        self._shared = MovingWindowRateLimiter(storage)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0

    async def hit(self, who: str, kind: str) -> Allowance:
        """Count one request of this kind."""
        if time.monotonic() >= self._away_until:
            try:
                found = await self._counted(self._shared, who, kind)
            except (StorageError, OSError, TimeoutError) as error:
                self._away_until = time.monotonic() + AWAY_S
                self._meter.gauge("tickwire_rate_limits_shared_up", 0)
                structlog.get_logger().error(
                    "rate limits are counted by each process for itself: Redis does not answer", reason=str(error)[:300]
                )
            else:
                self._meter.gauge("tickwire_rate_limits_shared_up", 1)
                return found
        return await self._counted(self._local, who, kind)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.disconnect()

    async def _counted(self, limiter: MovingWindowRateLimiter, who: str, kind: str) -> Allowance:
        rate = self._rates[kind]
        allowed = await limiter.hit(rate, kind, who)
        window = await limiter.get_window_stats(rate, kind, who)
        return Allowance(
            kind=kind, allowed=allowed, limit=rate.amount, window_s=rate.get_expiry(), remaining=max(0, window.remaining),
            reset_s=max(0.0, window.reset_time - time.time()),
        )  # fmt: skip


def parsed(rates: Rates) -> Mapping[str, limits.RateLimitItem]:
    """Raises: `SettingsError` for one that says no rate."""
    found = {}
    for kind, text in rates.model_dump().items():
        try:
            found[kind] = limits.parse(text)
        except ValueError as error:
            raise SettingsError(
                f"TICKWIRE_API__RATES__{kind.upper()}: expected a rate such as 100/second or 5/minute, was {text!r}"
            ) from error
    return found

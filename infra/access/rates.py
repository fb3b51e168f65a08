"""How often a caller may ask, counted in Redis for all API processes together; by each for itself while Redis is away.

Redis is not asked for every request: where a rate is high, a process takes some of it at a time, which it has then counted before
they are used. So never more pass than the rate allows, but for those that were taken at a window's end: a fiftieth of it.
"""

import time
from asyncio import Lock
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
TAKEN: Final = 50
"""A process takes this part of a rate at a time."""
USED_WITHIN: Final = 0.1
"""Of the window: what was taken is used within it, or lost."""
MOST_TAKEN: Final = 10_000
"""Callers and kinds of which something is left; whoever asked longest ago makes room."""
AWAY_S: Final = 5.0
"""How long Redis is left alone after it did not answer."""


@dataclass(slots=True)
class _Taken:
    """What a process has of a rate and has not used; `told` is what Redis said when it was taken.

    `asking`: held by whoever takes more. Those that come meanwhile wait for it: each taking a part of its own would use up the
    rate of a second in one moment in which Redis, or this process, is slow.
    """

    told: Allowance | None = None
    left: int = 0
    until: float = 0.0
    asking: Lock = field(default_factory=Lock)

    def use(self) -> Allowance | None:
        """One of them; None where none is left, or their time is over."""
        if self.told is None or not self.left or time.monotonic() >= self.until:
            return None
        self.left -= 1
        return replace(self.told, remaining=self.told.remaining + self.left)

    def keep(self, told: Allowance, left: int, for_s: float) -> None:
        """What was taken just now."""
        self.told, self.left, self.until = told, left, time.monotonic() + for_s


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
        self._taken: OrderedDict[tuple[str, str], _Taken] = OrderedDict()

    async def hit(self, who: str, kind: str) -> Allowance:
        """Count one request of this kind."""
        taken = self._of(who, kind)
        if (found := taken.use()) is not None:
            return found
        async with taken.asking:
            return taken.use() or await self._asked(taken, who, kind)

    def _of(self, who: str, kind: str) -> _Taken:
        taken = self._taken.setdefault((who, kind), _Taken())
        self._taken.move_to_end((who, kind))
        if len(self._taken) > MOST_TAKEN:
            self._taken.popitem(last=False)
        return taken

    async def _asked(self, taken: _Taken, who: str, kind: str) -> Allowance:
        if time.monotonic() >= self._away_until:
            try:
                found = await self._take(taken, who, kind)
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

    async def _take(self, taken: _Taken, who: str, kind: str) -> Allowance:
        """A part of the rate, of which one is used at once; one alone where there is no more."""
        rate = self._rates[kind]
        many = max(1, rate.amount // TAKEN)
        found = await self._counted(self._shared, who, kind, many)
        if many == 1 or not found.allowed:
            return found if many == 1 else await self._counted(self._shared, who, kind)
        taken.keep(found, many - 1, USED_WITHIN * rate.get_expiry())
        return replace(found, remaining=found.remaining + many - 1)

    async def _counted(self, limiter: MovingWindowRateLimiter, who: str, kind: str, many: int = 1) -> Allowance:
        rate = self._rates[kind]
        allowed = await limiter.hit(rate, kind, who, cost=many)
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

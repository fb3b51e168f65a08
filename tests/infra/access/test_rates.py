"""Rates: counted in Redis for all processes, and by each for itself, aloud, while Redis is away."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from infra.access import rates as module
from infra.access.rates import RateLimiter, parsed
from infra.settings import Rates
from infra.telemetry import Telemetry
from schemas.errors import SettingsError
from tests.services.valkey import Valkey, started

RATES = Rates(read="5/minute", sql="3/minute")
NOWHERE = "redis://127.0.0.1:1/0"


def test_processes_count_together_and_callers_and_kinds_apart(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 10.0)  # this machine may be busy
    monkeypatch.setattr(module, "CONNECT_S", 10.0)

    async def asked() -> None:
        one, two = (RateLimiter(RATES, valkey.url, Telemetry()) for _ in range(2))
        answers = [await limiter.hit("key together", "read") for limiter in (one, two, one, two, one, two, one)]
        assert [answer.allowed for answer in answers] == [True] * 5 + [False] * 2
        assert [answer.remaining for answer in answers] == [4, 3, 2, 1, 0, 0, 0]
        assert {(answer.kind, answer.limit, answer.window_s) for answer in answers} == {("read", 5, 60)}
        assert all(0 < answer.reset_s <= 120 for answer in answers)
        assert (await two.hit("key other", "read")).allowed
        assert (await two.hit("key together", "sql")).allowed
        await one.close()
        await two.close()

    asyncio.run(asked())


def test_without_redis_each_process_counts_for_itself_and_says_so_until_redis_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AWAY_S", 0.2)
    monkeypatch.setattr(module, "ANSWER_S", 10.0)  # this machine may be busy
    monkeypatch.setattr(module, "CONNECT_S", 10.0)
    telemetry, server = Telemetry(), started(tmp_path)

    async def asked() -> None:
        limiter = RateLimiter(RATES, server.url, telemetry)
        assert (await limiter.hit("k", "read")).remaining == 4
        server.program.stop()
        began = time.monotonic()
        answers = [await limiter.hit("k", "read") for _ in range(7)]
        assert time.monotonic() - began < 5
        assert [answer.allowed for answer in answers] == [True] * 5 + [False] * 2
        assert b"tickwire_rate_limits_shared_up 0.0" in telemetry.exposition()
        server.program.start()
        server.await_ready()
        await asyncio.sleep(0.3)
        assert (await limiter.hit("k", "read")).remaining == 4  # it forgot: the embedded one keeps nothing
        await limiter.close()
        assert b"tickwire_rate_limits_shared_up 1.0" in telemetry.exposition()

    try:
        with structlog.testing.capture_logs() as lines:
            asyncio.run(asked())
    finally:
        server.program.stop()
    told = [line for line in lines if "Redis does not answer" in line["event"]]
    assert told
    assert told[0]["log_level"] == "error"


def test_never_more_than_the_rate_in_any_window() -> None:
    """A moving window has no edge at which twice as many could pass."""

    async def asked() -> None:
        limiter = RateLimiter(Rates(read="20/second"), NOWHERE, Telemetry())
        passed: list[tuple[float, float]] = []
        until = time.monotonic() + 2.5
        while (now := time.monotonic()) < until:
            if (await limiter.hit("k", "read")).allowed:
                passed.append((now, time.monotonic()))
            await asyncio.sleep(0.002)
        assert len(passed) > 20
        for (before, _), (_, after) in zip(passed, passed[20:], strict=False):
            assert after - before > 1

    asyncio.run(asked())


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each question to Redis asked for."""
    monkeypatch.setattr(module, "ANSWER_S", 10.0)
    monkeypatch.setattr(module, "CONNECT_S", 10.0)
    costs: list[int] = []
    counted = RateLimiter._counted

    async def counting(self: RateLimiter, limiter: Any, who: str, kind: str, many: int = 1) -> Any:
        costs.append(many)
        return await counted(self, limiter, who, kind, many)

    monkeypatch.setattr(RateLimiter, "_counted", counting)
    return costs


def test_of_a_high_rate_a_process_takes_a_part_at_a_time_and_together_they_have_no_more(
    valkey: Valkey, trips: list[int]
) -> None:
    async def asked() -> None:
        pair = [RateLimiter(Rates(read="1000/hour"), valkey.url, Telemetry()) for _ in range(2)]
        answers = [await pair[number % 2].hit("key high", "read") for number in range(1_010)]
        assert [answer.allowed for answer in answers] == [True] * 1_000 + [False] * 10
        assert trips == [20] * 50 + [20, 1] * 10
        assert answers[0].remaining == 999
        assert answers[1].remaining == 979  # 20 are the other one's
        assert answers[-1].remaining == 0
        for limiter in pair:
            await limiter.close()

    asyncio.run(asked())


def test_requests_that_come_at_once_share_what_one_of_them_takes(valkey: Valkey, trips: list[int]) -> None:
    async def asked() -> None:
        limiter = RateLimiter(Rates(read="1000/hour"), valkey.url, Telemetry())
        answers = await asyncio.gather(*(limiter.hit("key together", "read") for _ in range(60)))
        assert all(answer.allowed for answer in answers)
        assert trips == [20] * 3
        await limiter.close()

    asyncio.run(asked())


def test_what_was_taken_and_not_used_in_time_is_lost(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 10.0)
    monkeypatch.setattr(module, "CONNECT_S", 10.0)
    monkeypatch.setattr(module, "USED_WITHIN", 0.0)

    async def asked() -> None:
        limiter = RateLimiter(Rates(read="100/hour"), valkey.url, Telemetry())
        answers = [await limiter.hit("key late", "read") for _ in range(60)]
        assert sum(answer.allowed for answer in answers) == 50
        await limiter.close()

    asyncio.run(asked())


@pytest.mark.parametrize("text", ["", "fast", "5", "5/fortnight"])
def test_what_is_no_rate_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="TICKWIRE_API__RATES__SQL: expected a rate"):
        parsed(Rates(sql=text))

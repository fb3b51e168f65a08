"""Answers that are kept for requests that come again, on a real Valkey."""

import time
import uuid
from threading import Barrier, Thread

import pytest
import redis

from api.once import KeptAnswer
from infra.once import RedisOnce
from schemas.errors import StoreUnavailable
from tests.services.processes import free_ports
from tests.services.valkey import Valkey

RUNNING = KeptAnswer(request="a1")
DONE = KeptAnswer(request="a1", status=201, body=b'{"x":1}')


@pytest.fixture
def store(valkey: Valkey) -> RedisOnce:
    return RedisOnce(redis.Redis.from_url(valkey.url))


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def test_the_first_has_the_name_and_the_others_see_what_became_of_it(store: RedisOnce, name: str) -> None:
    assert store.claim(name, RUNNING, 60) is None
    assert store.claim(name, KeptAnswer(request="b2"), 60) == RUNNING
    store.keep(name, DONE, 60)
    assert store.claim(name, RUNNING, 60) == DONE


def test_of_many_at_once_one_has_the_name(valkey: Valkey, name: str) -> None:
    together, won = Barrier(8), []

    def claim() -> None:
        mine = RedisOnce(redis.Redis.from_url(valkey.url))
        together.wait(10)
        won.append(mine.claim(name, RUNNING, 60) is None)

    threads = [Thread(target=claim) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert sorted(won) == [False] * 7 + [True]


def test_a_name_is_free_again_when_it_is_let_go_and_when_its_time_is_over(store: RedisOnce, name: str) -> None:
    assert store.claim(name, RUNNING, 60) is None
    store.release(name)
    assert store.claim(name, RUNNING, 0.05) is None
    time.sleep(0.1)
    assert store.claim(name, RUNNING, 60) is None


def test_a_redis_that_does_not_answer_is_said(name: str) -> None:
    store = RedisOnce(redis.Redis(port=free_ports(1)[0], socket_timeout=1))
    for ask in (lambda: store.claim(name, RUNNING, 1), lambda: store.keep(name, DONE, 1), lambda: store.release(name)):
        with pytest.raises(StoreUnavailable, match="Redis did not answer about an Idempotency-Key"):
            ask()

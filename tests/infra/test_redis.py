"""The newest row of a symbol, on a real Valkey."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.redis import PREFIX, LatestStore
from schemas.errors import DatabaseUnavailable, SchemaError, StoreUnavailable
from schemas.rows import Latest
from tests.services.processes import free_ports, until
from tests.services.valkey import Valkey


def latest(symbol: str, offset: int, *, log_id: str = "log-a", price: float | None = 1.5) -> Latest:
    return Latest(
        symbol=symbol, ts_event=1, ts_ingest=2, log_id=log_id, src_partition=0, src_offset=offset, price=price, bid=None,
        ask=None, p_up=None, champion="online", online=None, onnx=None, features_id="f", features={"x": None},
    )  # fmt: skip


@pytest.fixture
def store(valkey: Valkey) -> Iterator[LatestStore]:
    made = LatestStore(valkey.url, ttl_s=60)
    yield made
    made.close()


@pytest.fixture
def symbol() -> str:
    return f"S{uuid.uuid4().hex[:8]}"


def test_an_event_loop_reads_the_same_and_may_be_another_one_each_time(store: LatestStore, symbol: str) -> None:
    async def fetched() -> Latest | None:
        try:
            return await store.fetch(symbol)
        finally:
            await store.aclose()

    assert asyncio.run(fetched()) is None
    row = latest(symbol, 7, price=1.25)
    store.write([row])
    assert asyncio.run(fetched()) == row == store.read(symbol)


def test_an_event_loop_hears_of_a_store_that_is_away_and_of_rows_that_are_not_ours(
    store: LatestStore, symbol: str
) -> None:
    async def fetched(of: LatestStore) -> None:
        try:
            await of.fetch(symbol)
        finally:
            await of.aclose()

    with pytest.raises(StoreUnavailable, match="is it running"):
        asyncio.run(fetched(LatestStore(f"redis://127.0.0.1:{free_ports(1)[0]}", ttl_s=1)))
    store._client.hset(PREFIX + symbol, "payload", b"{}")
    with pytest.raises(SchemaError, match="is not a row of ours"):
        asyncio.run(fetched(store))


def test_what_is_written_is_read_back_whole(store: LatestStore, symbol: str) -> None:
    row = latest(symbol, 7, price=-0.0)
    assert store.write([row]) == 1
    assert store.read(symbol) == row
    assert symbol in store.symbols()


def test_an_older_offset_never_replaces_a_newer_one(store: LatestStore, symbol: str) -> None:
    store.write([latest(symbol, 10)])
    assert store.write([latest(symbol, 9), latest(symbol, 10, price=9.9)]) == 0
    assert store.read(symbol) == latest(symbol, 10)


def test_a_row_of_another_log_replaces_whatever_its_offset(store: LatestStore, symbol: str) -> None:
    store.write([latest(symbol, 1_000)])
    assert store.write([latest(symbol, 0, log_id="log-b")]) == 1
    assert store.read(symbol) == latest(symbol, 0, log_id="log-b")


@dataclass
class Writer:
    """Somebody with the right to write."""

    epoch: int
    lineage: str = "a"
    doubt: bool = False

    def check(self) -> None:
        if self.doubt:
            raise DatabaseUnavailable("who knows")


def test_a_writer_that_was_followed_by_another_replaces_nothing_of_its_rows(valkey: Valkey, symbol: str) -> None:
    old, new, elsewhere = (
        LatestStore(valkey.url, ttl_s=60, writer=writer) for writer in (Writer(4), Writer(5), Writer(1, "b"))
    )
    assert old.write([latest(symbol, 10)]) == 1
    assert new.write([latest(symbol, 9)]) == 0, "replayed: not a newer row"
    assert new.write([latest(symbol, 0, log_id="log-b")]) == 1
    assert old.write([latest(symbol, 11)]) == 0
    assert new.read(symbol) == latest(symbol, 0, log_id="log-b")
    assert elsewhere.write([latest(symbol, 1, log_id="log-c")]) == 1, "leases began again: epochs say nothing"
    for each in (old, new, elsewhere):
        each.close()


def test_a_writer_in_doubt_writes_nothing(valkey: Valkey, symbol: str) -> None:
    store = LatestStore(valkey.url, ttl_s=60, writer=Writer(1, doubt=True))
    with pytest.raises(StoreUnavailable, match="nothing is written to Redis"):
        store.write([latest(symbol, 1)])
    assert store.read(symbol) is None
    store.close()


def test_offsets_past_two_to_the_53_are_still_told_apart(store: LatestStore, symbol: str) -> None:
    store.write([latest(symbol, 2**53 + 1)])
    assert store.write([latest(symbol, 2**53)]) == 0
    assert store.write([latest(symbol, 2**53 + 2)]) == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2**62)), max_size=6), max_size=6))
def test_however_batches_are_cut_the_highest_offset_wins(
    store: LatestStore, batches: list[list[tuple[str, int]]]
) -> None:
    run = uuid.uuid4().hex[:8]
    for batch in batches:
        store.write([latest(run + name, offset) for name, offset in batch])
    for name in "abc":
        offsets = [offset for batch in batches for each, offset in batch if each == name]
        found = store.read(run + name)
        assert (None if found is None else found.src_offset) == max(offsets, default=None)


def test_an_unknown_symbol_is_none_and_so_is_every_symbol_after_a_flush(valkey: Valkey, symbol: str) -> None:
    store = LatestStore(valkey.url, ttl_s=60)
    assert store.read(symbol) is None
    store.write([latest(symbol, 1)])
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        client.script_flush()  # a restarted server has forgotten the script as well
    assert store.read(symbol) is None
    assert store.write([latest(symbol, 1)]) == 1
    store.close()


def test_it_knows_when_everything_was_lost(valkey: Valkey, symbol: str) -> None:
    one, two = (LatestStore(valkey.url, ttl_s=60, group=f"{symbol}{n}") for n in (1, 2))
    assert one.forgot()
    assert not one.forgot()
    assert two.forgot()
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    assert one.forgot()
    assert two.forgot()
    assert not one.forgot()
    one.close()
    two.close()


def test_all_rows_are_read_at_once_without_those_of_another_build(valkey: Valkey, store: LatestStore) -> None:
    names = {f"{uuid.uuid4().hex}" for _ in range(50)}
    store.write([latest(name, 3) for name in names])
    with redis.Redis.from_url(valkey.url) as client:
        client.hset(f"{PREFIX}OLD", "payload", b'{"symbol": 1}')
        rows = {row.symbol: row for row in store.rows()}
        client.delete(f"{PREFIX}OLD")
    assert names <= rows.keys()
    assert "OLD" not in rows
    assert all(rows[name] == latest(name, 3) for name in names)


def test_a_row_that_is_not_renewed_is_forgotten(valkey: Valkey, symbol: str) -> None:
    store = LatestStore(valkey.url, ttl_s=3.0)
    store.write([latest(symbol, 1)])
    assert store.read(symbol) == latest(symbol, 1)
    until("the row's end", lambda: store.read(symbol) is None, within_s=30)
    store.close()


def test_a_symbol_with_unusual_characters_is_a_symbol(store: LatestStore) -> None:
    name = f"BTC/USD:p*é {uuid.uuid4().hex[:8]}"
    store.write([latest(name, 1)])
    assert store.read(name) == latest(name, 1)
    assert name in store.symbols()


def test_a_batch_is_one_call(valkey: Valkey, store: LatestStore) -> None:
    rows = [latest(f"{uuid.uuid4().hex}", 1) for _ in range(200)]
    store.write(rows[:1])  # the script is loaded
    with redis.Redis.from_url(valkey.url) as client:
        client.config_resetstat()
        store.write(rows)
        calls = client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in calls


def test_a_payload_that_is_not_ours_is_an_error_and_not_a_row(valkey: Valkey, store: LatestStore, symbol: str) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.hset(PREFIX + symbol, "payload", b'{"symbol": 1}')
    with pytest.raises(SchemaError, match=symbol):
        store.read(symbol)


def test_a_server_that_is_not_there_is_named_within_the_timeout() -> None:
    (port,) = free_ports(1)
    store = LatestStore(f"redis://user:s3cret@127.0.0.1:{port}/0", ttl_s=1, timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}") as raised:
        store.read("A")
    assert time.monotonic() - started < 3
    assert "s3cret" not in str(raised.value)
    store.close()

"""The outbox keeps what was put, once, for its owner alone."""

import sqlite3
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from infra.hooks.channel import Answer, Message, failed
from infra.hooks.database import Database
from infra.hooks.messages import in_words, message_id, message_of, ping
from infra.hooks.opened import HookStore, open_store
from infra.hooks.outbox import SKEW_NS, Due, Put
from infra.hooks.retries import NS
from schemas.errors import OutboxError, TargetRefused, UnknownEndpoint
from schemas.hooks import Endpoint, NewEndpoint
from tests.infra.hooks.alerts import START, alert

NOW = START


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HookStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.database.close()


def added(store: HookStore, now: int = NOW, **fields: object) -> Endpoint:
    wanted = msgspec.convert({"target": "https://example.com/", **fields}, NewEndpoint)
    return store.endpoints.add(wanted, now)[0]


def put(store: HookStore, *numbers: int, now: int = NOW, rule: str = "vwap-dev") -> int:
    puts = [Put(message_of(alert(number)), rule, now) for number in numbers]
    with store.database.transaction():
        return store.outbox.put(puts, now)


def due(store: HookStore, endpoint: Endpoint, now: int = NOW, most: int = 100) -> list[Due]:
    return store.outbox.due(endpoint.id, now, most, ())


def record(store: HookStore, delivery: Due, answer: Answer, again: int | None = None, at: int = NOW) -> str:
    with store.database.transaction():
        return store.outbox.record(delivery, answer, at, 0.1, again)


def test_an_alert_is_put_once_for_each_endpoint_however_often_it_is_read(store: HookStore) -> None:
    one, two = added(store), added(store)
    assert put(store, 0, 1) == 4
    assert put(store, 1, 0, 2) == 2
    for endpoint in (one, two):
        assert [each.message.id for each in due(store, endpoint)] == [message_id(alert(number)) for number in (0, 1, 2)]


def test_fired_and_cleared_of_the_same_alert_are_two_messages(store: HookStore) -> None:
    added(store)
    with store.database.transaction():
        puts = [Put(message_of(alert(0, state=state)), "r", NOW) for state in ("fired", "cleared", "fired")]
        assert store.outbox.put(puts, NOW) == 2


def test_an_endpoint_gets_what_its_rules_say_and_what_was_said_since_it_was_added(store: HookStore) -> None:
    picky, late = added(store, rules=["rsi"]), added(store, now=NOW + 2 * SKEW_NS)
    put(store, 0)
    put(store, 1, rule="rsi")
    assert [each.message.id for each in due(store, picky)] == [message_id(alert(1))]
    assert due(store, late) == []
    put(store, 0, 2, now=NOW + 2 * SKEW_NS)
    assert len(due(store, late, now=NOW + 2 * SKEW_NS)) == 2


def test_without_an_endpoint_nothing_is_kept(store: HookStore) -> None:
    assert put(store, 0, 1, 2) == 0
    assert store.database.rows("SELECT count(*) FROM messages") == [(0,)]


def test_what_was_put_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    endpoint = added(first)
    put(first, 0)
    second = open_store(tmp_path)  # as after kill -9: the first was never closed
    assert [each.message for each in due(second, endpoint)] == [message_of(alert(0))]
    first.database.close()
    second.database.close()


def test_nothing_of_a_transaction_that_failed_is_kept(store: HookStore) -> None:
    endpoint = added(store)
    puts = [Put(message_of(alert(0)), "r", NOW), Put(message_of(alert(1)), "r", 2**70)]
    with pytest.raises(OverflowError), store.database.transaction():
        store.outbox.put(puts, NOW)
    assert due(store, endpoint) == []


def test_the_file_is_for_its_owner_and_every_commit_is_synced(store: HookStore) -> None:
    added(store)
    for path in store.database.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(store.database.path.parent.stat().st_mode) == 0o700
    assert store.database.rows("PRAGMA synchronous") == [(2,)]
    assert store.database.rows("PRAGMA journal_mode") == [("wal",)]


def test_a_failed_attempt_comes_back_when_it_is_due_and_the_last_one_is_a_dead_letter(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0)
    (first,) = due(store, endpoint)
    assert record(store, first, failed("down", 503), again=NOW + 5) == "pending"
    assert due(store, endpoint, now=NOW + 4) == []
    (second,) = due(store, endpoint, now=NOW + 5)
    assert (second.tries, second.message) == (1, first.message)
    assert record(store, second, failed("down", 503), again=None) == "dead"
    assert due(store, endpoint, now=NOW + 10**18) == []
    details = store.log.details(first.id)
    assert [(each.number, each.status, each.detail) for each in details.attempts] == [
        (1, 503, "down"),
        (2, 503, "down"),
    ]
    assert details.body == message_of(alert(0)).body.decode()


def test_what_is_under_way_is_not_due_again(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0, 1, 2)
    first = due(store, endpoint, most=1)[0]
    assert [each.message.id for each in store.outbox.due(endpoint.id, NOW, 1, [first.id])] == [message_id(alert(1))]


def test_replay_begins_anew_under_the_same_id(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0, 1)
    dead, sent = due(store, endpoint)
    record(store, dead, failed("down"), None)
    record(store, sent, Answer("sent", 200, "ok"), None)
    assert store.log.replay_all(endpoint.id, NOW + 1) == 1
    (again,) = due(store, endpoint, now=NOW + 1)
    assert (again.message, again.tries, again.replayed) == (dead.message, 0, True)
    assert store.log.replay_all(endpoint.id, NOW + 1, since=NOW + 1, every=True) == 0
    assert store.log.replay_all(endpoint.id, NOW + 1, every=True) == 1
    record(store, again, Answer("sent", 200, "ok"), None)
    store.log.replay(again.id, NOW + 2)
    assert store.log.page(endpoint.id, "pending")[0].id == sent.id
    assert len(store.log.details(again.id).attempts) == 2


def test_a_disabled_endpoint_keeps_dead_letters_and_may_be_used_again(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0, 1)
    (first, _) = due(store, endpoint)
    with store.database.transaction():
        store.outbox.disable(endpoint.id, "it answered 410 Gone", NOW)
    put(store, 2)
    assert record(store, first, failed("down"), again=NOW) == "dead", "an attempt that was under way does not come back"
    assert [each.state for each in store.log.page(endpoint.id)] == ["dead"] * 3
    with pytest.raises(TargetRefused, match="410"):
        store.log.replay_all(endpoint.id, NOW)
    with pytest.raises(TargetRefused, match="410"):
        store.outbox.put_for(endpoint.id, ping(endpoint.id, "77", NOW), NOW)
    assert due(store, endpoint) == []
    store.endpoints.enable(endpoint.id)
    assert store.log.replay_all(endpoint.id, NOW) == 3
    assert len(due(store, endpoint)) == 3


def test_removing_an_endpoint_forgets_its_deliveries_also_one_under_way(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0)
    (delivery,) = due(store, endpoint)
    store.endpoints.remove(endpoint.id)
    assert record(store, delivery, Answer("sent", 200, ""), None) == "removed"
    assert store.log.page() == []
    for ask in (store.endpoints.get, store.endpoints.remove, store.endpoints.enable):
        with pytest.raises(UnknownEndpoint):
            ask(endpoint.id)


def test_rotation_has_two_secrets_for_an_overlap(store: HookStore) -> None:
    endpoint, first = store.endpoints.add(NewEndpoint(target="https://example.com/"), NOW)
    second = store.endpoints.rotate(endpoint.id, timedelta(hours=1), NOW)
    assert store.endpoints.keys(endpoint.id, NOW) == (second.secret, first.secret)
    assert store.endpoints.keys(endpoint.id, NOW + 3_600 * NS) == (second.secret,)
    third = store.endpoints.rotate(endpoint.id, timedelta(hours=1), NOW)
    assert store.endpoints.keys(endpoint.id, NOW) == (third.secret, second.secret)


def test_what_is_long_over_is_forgotten_and_what_waits_is_not(store: HookStore) -> None:
    endpoint = added(store)
    put(store, 0, 1)
    record(store, due(store, endpoint)[0], Answer("sent", 200, ""), None)
    with store.database.transaction():
        assert store.outbox.prune(NOW + 31 * 86_400 * NS) == 1
    assert [each.message for each in store.log.page()] == [message_id(alert(1))]
    assert store.database.rows("SELECT count(*) FROM messages") == [(1,)]


def test_a_file_of_another_version_and_one_that_is_no_database_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.database.changed("PRAGMA user_version = 99")
    store.database.close()
    with pytest.raises(OutboxError, match="expected version 1, found 99"):
        open_store(tmp_path)
    path = tmp_path / "junk.sqlite3"
    path.write_bytes(b"junk" * 5_000)
    with pytest.raises(OutboxError, match="not a database"):
        Database(path)


def test_a_busy_file_is_told_from_a_broken_one(store: HookStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.hooks.database.BUSY_S", 0.01)
    other = Database(store.database.path)
    blocker = sqlite3.connect(store.database.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxError) as caught, other.transaction():
        pass
    assert caught.value.passing
    blocker.close()
    other.close()


def test_a_message_is_the_same_in_every_process_and_its_id_fits_a_header() -> None:
    made = message_of(alert(3))
    assert made == message_of(alert(3))
    body = msgspec.json.decode(made.body)
    assert (body["type"], body["timestamp"]) == ("alert.cleared", "2026-11-22T14:30:00.000000003Z")
    assert body["data"]["src_offset"] == 3
    assert made.id == f"{3:064x}-cleared"
    odd = message_id(alert(0, id="a.b\r\nc: d"))
    assert odd.isalnum()
    assert odd != message_id(alert(0, id="a.b\r\nc: e"))
    assert in_words(made) == "SIM3: vwap-dev cleared at 1.25 (threshold 1), 2026-11-22T14:30:00.000000003Z"


def test_a_ping_is_for_one_endpoint(store: HookStore) -> None:
    one, two = added(store), added(store)
    delivery = store.outbox.put_for(one.id, ping(one.id, "77", NOW), NOW)
    assert [each.id for each in due(store, one)] == [delivery]
    assert isinstance(due(store, one)[0].message, Message)
    assert due(store, two) == []

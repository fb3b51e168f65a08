"""Who holds the lease of a partition, who waits for it, and who is refused."""

import threading
from pathlib import Path
from time import monotonic

import pytest

from infra.clickhouse import Database
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.errors import DatabaseError, DatabaseUnavailable, WriterError, WriterHeld
from tests.infra.engine import NAME, engine
from tests.infra.writer_process import ROWS, TABLE, block, lease_on
from tests.services.processes import until

pytestmark = pytest.mark.embedded


def test_who_holds_the_lock_of_the_writer_before_takes_over_without_waiting(writers_store: Database) -> None:
    first, second = lease_on(writers_store, "lock", 30), lease_on(writers_store, "lock", 30)
    first.take()
    began = monotonic()
    second.take()
    assert monotonic() - began < 5
    assert second.epoch == first.epoch + 1


def test_a_writer_elsewhere_that_renews_is_left_alone(writers_store: Database) -> None:
    first, second = lease_on(writers_store, "there", 1), lease_on(writers_store, "here", 1)
    first.take()
    first.keep()
    try:
        with pytest.raises(WriterHeld, match="lease renewed"):
            second.take()
        first.check()
    finally:
        first.release()


def test_a_writer_elsewhere_that_is_silent_for_its_lease_is_taken_over(writers_store: Database) -> None:
    first, second = lease_on(writers_store, "there", 2), lease_on(writers_store, "here", 1)
    first.take()
    began = monotonic()
    second.take()
    assert monotonic() - began >= 2, "it has to wait for the lease of the other, not for its own"
    first._until = float("inf")  # as if it had slept through it
    with pytest.raises(DatabaseError) as refused:
        writers_store.insert(f"{NAME}.{TABLE}", block(0), query_id=first.query_id())
    assert "`fenced`" in str(refused.value)
    assert writers_store.insert(f"{NAME}.{TABLE}", block(0), query_id=second.query_id()) == ROWS


def test_a_writer_that_gave_its_lease_back_is_not_waited_for(writers_store: Database) -> None:
    first, second = lease_on(writers_store, "there", 30), lease_on(writers_store, "here", 30)
    first.take()
    first.release()
    began = monotonic()
    second.take()
    assert monotonic() - began < 5


def test_of_two_newcomers_one_wins(writers_store: Database) -> None:
    for _ in range(5):
        leases = [lease_on(writers_store, "same") for _ in range(4)]
        results: list[object] = []

        def take(number: int, among: list, told: list[object]) -> None:  # type: ignore[type-arg]
            try:
                among[number].take()
                told.append(among[number].holder)
            except WriterError as error:
                told.append(error)

        threads = [threading.Thread(target=take, args=(n, leases, results)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        accepted = []
        for lease in leases:
            try:
                writers_store.insert(f"{NAME}.{TABLE}", block(0), query_id=lease.query_id())
                accepted.append(lease.holder)
            except DatabaseError:
                continue
        newest = writers_store.rows(f"SELECT argMax(holder, epoch) FROM {NAME}.writers").rows[0][0]
        assert len(accepted) >= 1
        assert newest in accepted
        shut = {row[0] for row in writers_store.rows(f"SELECT holder FROM {NAME}.fenced").rows}
        assert all(lease.holder in shut or lease.holder == newest for lease in leases if lease.epochs)


def test_a_newcomer_that_slept_until_its_claim_was_forgotten_is_refused_all_the_same(writers_store: Database) -> None:
    first, late = lease_on(writers_store, "there"), lease_on(writers_store, "here")
    first.take()
    writers_store.command(f"ALTER TABLE {NAME}.writers MODIFY SETTING non_replicated_deduplication_window = 0")
    with pytest.raises(WriterHeld):
        late._claimed(0, first.epoch)
    claims = writers_store.rows(f"SELECT holder FROM {NAME}.writers WHERE epoch = {first.epoch} AND renewals = 1").rows
    assert {(first.holder,), (late.holder,)} == set(claims), "its claim is there: no token kept it out"
    first._renew()
    first.check()


def test_while_clickhouse_is_away_a_writer_is_in_doubt_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        database = made.database(timeout_s=1)
        create_tables(database, NAME, FEATURE_NAMES)
        lease = lease_on(database, "lock", 1)
        lease.take()
        lease.keep()
        made.kill()
        until("the lease to be in doubt", lambda: _in_doubt(lease), within_s=10)
        with pytest.raises(DatabaseUnavailable, match="nothing is written until ClickHouse answers"):
            lease.wait(0.3)
        made.start()
        lease.wait(10)
        assert database.insert(f"{NAME}.{TABLE}", block(0), query_id=lease.query_id()) == ROWS
        lease.release()
        database.close()


def _in_doubt(lease) -> bool:  # type: ignore[no-untyped-def]
    try:
        lease.check()
    except DatabaseUnavailable:
        return True
    return False

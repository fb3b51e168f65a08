"""Writes to the outbox share a commit: all of them are on the disk, or none."""

import asyncio
from pathlib import Path

import pytest

from infra.hooks.opened import open_store
from infra.hooks.writes import Writes
from schemas.errors import OutboxError


def test_writes_that_come_together_share_one_commit_and_a_full_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.hooks.writes.AGAIN_S", 0.05)

    async def run() -> tuple[list[int], int]:
        store = open_store(tmp_path)
        writes, tried = Writes(store.database), 0

        def work(number: int) -> int:
            nonlocal tried
            tried += 1
            if tried <= 2:
                raise OutboxError("database or disk is full", passing=True)
            store.database.changed("INSERT INTO messages VALUES (?, 'ping', x'', 0, 0)", (str(number),))
            return number

        found = await asyncio.gather(*(writes.commit(lambda number=number: work(number)) for number in range(10)))  # type: ignore[misc]
        ((stored,),) = store.database.rows("SELECT count(*) FROM messages")
        store.database.close()
        return found, stored

    assert asyncio.run(run()) == (list(range(10)), 10)


def test_a_commit_that_fails_fails_for_all_that_shared_it(tmp_path: Path) -> None:
    async def run() -> list[object]:
        store = open_store(tmp_path)
        writes = Writes(store.database)
        works = [
            lambda: store.database.changed("INSERT INTO messages VALUES ('a', 'ping', x'', 0, 0)"),
            lambda: store.database.changed("no SQL"),
        ]
        found = await asyncio.gather(*map(writes.commit, works), return_exceptions=True)
        assert store.database.rows("SELECT count(*) FROM messages") == [(0,)]
        store.database.close()
        return list(found)

    assert [type(each) for each in asyncio.run(run())] == [OutboxError, OutboxError]

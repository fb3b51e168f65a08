"""Shutting a writer out, in ClickHouse itself: whoever is fenced adds no row, however late its insert arrives.

Every insert of a writer carries its holder's name in its query id and log comment (`tickwire-<holder>-<n>`). A constraint of
every table looks that name up in the table `fenced`: ClickHouse refuses the insert if it is there. What had passed that look
is in the list of running queries, from which `shut_out` takes it. So, when `shut_out` returns, what the holder inserted is
there or will never be. On one ClickHouse server, that is: a replica would have to be asked too.
"""

import re
import time
from collections.abc import Collection
from typing import Final

from infra.clickhouse import Database
from schemas.errors import DatabaseUnavailable

HOLDER: Final = "^tickwire-([0-9a-f]{32})-"
VIOLATED_CONSTRAINT: Final = 469
FENCED: Final = "CREATE TABLE IF NOT EXISTS `{name}`.fenced (holder String, by String) ENGINE = Join(ANY, LEFT, holder)"
LOOK: Final = "isNull(joinGetOrNull('{name}.fenced', 'by', extract(getSetting('log_comment'), '" + HOLDER + "')))"
GONE_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.02


def create_fence(database: Database, name: str) -> None:
    """The table of those who are shut out; before any table that looks into it."""
    database.command(FENCED.format(name=name))


def guarded_tables(database: Database, name: str) -> set[str]:
    """Tables that have the look."""
    told = database.rows(
        "SELECT name FROM system.tables WHERE database = {d:String} AND create_table_query LIKE '%CONSTRAINT fenced CHECK%'",
        {"d": name},
    )
    return {str(row[0]) for row in told.rows}


def guard(database: Database, name: str, table: str) -> None:
    """Have a table look; one that does so already is left alone."""
    look = LOOK.replace("{name}", name)
    database.command(f"ALTER TABLE `{name}`.`{table}` ADD CONSTRAINT IF NOT EXISTS fenced CHECK {look}")


def shut_out(database: Database, name: str, holders: Collection[str], by: str) -> None:
    """Let no insert of these holders be stored any more; returns when none of them runs.

    DatabaseUnavailable where one can neither be ended nor ends by itself within half a minute.
    """
    if holders:
        database.insert(f"{name}.fenced", {"holder": list(holders), "by": [by] * len(holders)})
        end(database, set(holders))


def end(database: Database, holders: Collection[str] = (), query_ids: Collection[str] = ()) -> None:
    """Kill what these holders insert, or these inserts; returns when nothing of it runs."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while found := [each for each in _running(database) if each in query_ids or _holder(each) in holders]:
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"ClickHouse goes on with {', '.join(found)} for {GONE_WITHIN_S:g} s after KILL QUERY: an insert of the writer "
                "before this one, which must end before its rows can be counted; start again when it has"
            )
        for each in found:
            database.command("KILL QUERY WHERE query_id = {id:String} ASYNC", {"id": each})
        time.sleep(LOOK_EVERY_S)


def _running(database: Database) -> list[str]:
    """Query ids of writers' inserts: as log comments, since the embedded engine has query ids of its own."""
    found = database.rows(
        "SELECT Settings['log_comment'] AS id FROM system.processes WHERE match(id, {holder:String})",
        {"holder": HOLDER},
    )
    return [str(row[0]) for row in found.rows]


def _holder(query_id: str) -> str:
    found = re.match(HOLDER, query_id)
    return found[1] if found else ""

"""Where replays are kept: one ClickHouse database each, beside the live one, and what was replayed into it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from infra.clickhouse import Database
from infra.replay.names import database_of
from infra.tables import create_tables
from processors.features import FEATURE_NAMES
from schemas.errors import InputError
from schemas.tables import BARS, OUTCOMES, PREDICTIONS, Table, features_table
from streams.replay import Span

HASHED: Final = (features_table(FEATURE_NAMES), PREDICTIONS, OUTCOMES, BARS)


class ReplayRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay was: kept in its own database, told by `tickwire replay --list`."""

    name: str
    log_id: str
    speed: str
    spans: Sequence[tuple[int, int, int]]
    """(partition, first offset, next offset)."""
    records: int
    doors: Mapping[str, int]
    rows: Mapping[str, int]
    hash: str
    live_hash: str | None
    """Of the live rows of the same offsets; None where they cannot be the same, the replay having begun later than the log."""
    differs: Sequence[str]
    """Tables in which the two are not the same."""
    seconds: float


class ReplayStore:
    """The replays beside one live database."""

    def __init__(self, database: Database, live: str) -> None:
        self._database, self._live = database, live

    def make(self, name: str, *, replace: bool) -> str:
        """An empty database for a replay; its name. `InputError` where there is one and `replace` is not said."""
        made = database_of(self._live, name)
        if made in self._databases():
            if not replace:
                raise InputError(
                    f"--into {name}: database {made} is there already; give another name, --replace it, or "
                    f"`tickwire replay --drop {name}`"
                )
            self.drop(name)
        create_tables(self._database, made, FEATURE_NAMES)
        self._database.command(f"CREATE TABLE `{made}`.replay (record String) ENGINE = MergeTree ORDER BY tuple()")
        return made

    def drop(self, name: str) -> None:
        """Throw a replay away; `InputError` where there is none of this name."""
        gone = database_of(self._live, name)
        if gone not in self._databases():
            raise InputError(f"--drop {name}: there is no replay of this name; `tickwire replay --list` shows them")
        self._database.command(f"DROP DATABASE `{gone}` SYNC")

    def note(self, record: ReplayRecord) -> None:
        """Write down what was replayed, when it is over."""
        raw = msgspec.json.encode(record).decode()
        self._database.insert(f"{database_of(self._live, record.name)}.replay", {"record": [raw]})

    def replays(self) -> dict[str, ReplayRecord | None]:
        """By name; None for one that did not end."""
        prefix = f"{self._live}_replay_"
        found: dict[str, ReplayRecord | None] = {}
        for each in self._databases():
            rows = self._database.rows(f"SELECT record FROM `{each}`.replay").rows  # noqa: S608
            found[each.removeprefix(prefix)] = msgspec.json.decode(rows[0][0], type=ReplayRecord) if rows else None
        return found

    def _databases(self) -> list[str]:
        prefix = f"{self._live}_replay_"
        found = self._database.rows(
            "SELECT DISTINCT database FROM system.tables WHERE name = 'replay' AND startsWith(database, {prefix:String}) "
            "ORDER BY database",
            {"prefix": prefix},
        )
        return [str(row[0]) for row in found.rows]

    def first_offsets(self, log_id: str) -> dict[int, int]:
        """Where the live ledger began to count, by partition; partitions without a line are left out."""
        found = self._database.rows(
            f"SELECT src_partition, min(first_offset) FROM `{self._live}`.ledger "  # noqa: S608
            "WHERE log_id = {log_id:String} GROUP BY src_partition",
            {"log_id": log_id},
        )
        return {int(partition): int(first) for partition, first in found.rows}


def digests(database: Database, name: str, log_id: str, spans: Sequence[Span]) -> dict[str, tuple[int, str]]:
    """Rows and hash of each output table of a database within the spans: every column of every row, and where it stands.

    A row says which record made it, so the order of the log is in the hash although ClickHouse adds up in any order.
    """
    return {table.name: _digest(database, name, table, log_id, spans) for table in HASHED}


def _digest(database: Database, name: str, table: Table, log_id: str, spans: Sequence[Span]) -> tuple[int, str]:
    told, rows = hashlib.sha256(), 0
    columns = ", ".join(_bits(column, type_) for column, type_ in table.types.items() if column != "log_id")
    for span in spans:
        ((count, *sums),) = database.rows(
            f"SELECT count(), sum(sipHash64({columns})), groupBitXor(sipHash64(1, {columns})) "  # noqa: S608
            f"FROM `{name}`.`{table.name}` WHERE log_id = {{log_id:String}} AND src_partition = {{partition:UInt16}} "
            "AND src_offset >= {first:Int64} AND src_offset < {end:Int64}",
            {"log_id": log_id, "partition": span.partition, "first": span.first, "end": span.end},
        ).rows
        rows += int(count)
        told.update(f"{table.name} {span.partition} {count} {sums[0]} {sums[1]}\n".encode())
    return rows, told.hexdigest()


def _bits(column: str, type_: str) -> str:
    """A column as the hash takes it: the bits of a number, with one NaN for all, and NULL as that NaN."""
    if type_ == "Nullable(Float64)":
        return f"reinterpretAsUInt64(ifNull(`{column}`, nan))"
    if type_ == "Float64":
        return f"reinterpretAsUInt64(if(isNaN(`{column}`), nan, `{column}`))"
    return f"`{column}`"


def output_hash(found: Mapping[str, tuple[int, str]]) -> str:
    """One hash of all tables, as `hash=` prints it."""
    return hashlib.sha256("\n".join(f"{table} {told}" for table, (_, told) in found.items()).encode()).hexdigest()

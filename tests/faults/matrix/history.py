"""What ClickHouse must hold after a fault: the rows of an undisturbed fold of the same log, bit for bit.

Every column of every table is weighed with its row's place in the log and summed up, in NumPy over an undisturbed fold and in
SQL over the raw rows: one row too few, too many, twice or different in one bit changes a sum, at any size of history.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.clickhouse import Database
from infra.composition import ShardMaker
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.sessions import Sessions
from processors.shard import FoldRules, Shard
from schemas.tables import Table, tables
from streams.columns import Block, Column, joined
from streams.decode import Poll, decode
from streams.rows import RowMaker

NAN: Final = 0x7FF8000000000000
PARTITION_WEIGHT: Final = 1_000_003
Sums = Mapping[str, int]
Unsigned = NDArray[np.uint64]
FIRST_ISSUES: Final = {"bars": "reason = 'closed'"}
"""Revisions have tests of their own, which know their history; here the fold alone is the oracle."""
LEFT_OUT: Final = frozenset({"log_id", "ts_broker", "onnx_id"})
DECLARED: Final = {table.name: table for table in tables(FEATURE_NAMES)}


def folded(polls: Iterable[Poll], log_id: str, rules: FoldRules) -> dict[str, Sums]:
    """Sums of what an undisturbed fold of these records says, by table."""
    make = ShardMaker(rules, Sessions(), None)  # no venue of these tests keeps a calendar
    kinds = [kind.name for kind in rules.bars]
    rows = RowMaker(log_id, FEATURE_NAMES, FEATURES_ID, kinds)
    shards: dict[int, Shard] = {}
    blocks: dict[str, list[Block]] = {}
    for poll in polls:
        shard = shards.setdefault(poll.partition, make(poll.partition))
        for table, block in rows.blocks(shard.advance(decode(poll))).items():
            blocks.setdefault(table, []).append(block)
    return {name: _folded(table, blocks.get(name, [])) for name, table in DECLARED.items()}


def stored(database: Database, name: str, log_id: str) -> dict[str, Sums]:
    """Sums of the raw rows of one log in the database `name`, by table."""
    found: dict[str, Sums] = {}
    for table in DECLARED.values():
        columns = ["count() AS rows", *(f"sum({_sql(c, t)} * {_WEIGHT}) AS `sum_{c}`" for c, t in _weighed(table))]
        condition = FIRST_ISSUES.get(table.name, "1")
        result = database.rows(
            f"SELECT {', '.join(columns)} FROM `{name}`.`{table.name}` WHERE log_id = {{id:String}} AND {condition}",
            {"id": log_id},
        )
        names = [name.removeprefix("sum_") for name in result.names]
        found[table.name] = dict(zip(names, result.rows[0], strict=True))
    return found


def differences(expected: Mapping[str, Sums], found: Mapping[str, Sums]) -> list[str]:
    """In words; none where the history is exact."""
    told = []
    for table, sums in expected.items():
        if found[table]["rows"] != sums["rows"]:
            told.append(f"{table}: expected {sums['rows']} rows, found {found[table]['rows']}")
        else:
            told += [f"{table}.{c}: other values" for c, each in sums.items() if found[table][c] != each]
    return told


_WEIGHT: Final = f"(toUInt64(src_offset) * 2 + 1 + toUInt64(src_partition) * {PARTITION_WEIGHT})"


def _weighed(table: Table) -> list[tuple[str, str]]:
    return [(column, type_) for column, type_ in table.types.items() if column not in LEFT_OUT]


def _sql(column: str, type_: str) -> str:
    if type_ == "Float64":
        return f"if(isNaN(`{column}`), toUInt64({NAN}), reinterpretAsUInt64(`{column}`))"
    if type_ == "Nullable(Float64)":
        return f"if(isNull(`{column}`), toUInt64({NAN}), reinterpretAsUInt64(assumeNotNull(`{column}`)))"
    if type_.startswith("DateTime64(9"):
        return f"toUInt64(toUnixTimestamp64Nano(`{column}`))"
    if "String" in type_:
        return f"toUInt64(CRC32(`{column}`))"
    return f"toUInt64(`{column}`)"


def _folded(table: Table, blocks: list[Block]) -> Sums:
    if not blocks:
        return dict.fromkeys(["rows", *(column for column, _ in _weighed(table))], 0)
    block = joined(blocks)
    kept = np.ones(len(np.asarray(block["src_offset"])), np.bool_)
    if table.name in FIRST_ISSUES:
        codes, words = block["reason"]
        kept = np.array([word == "closed" for word in words])[codes]
    partition, offset = _bits(block["src_partition"], "UInt16"), _bits(block["src_offset"], "Int64")
    weight = (offset * np.uint64(2) + np.uint64(1) + partition * np.uint64(PARTITION_WEIGHT))[kept]
    sums = {c: int((_bits(block[c], t)[kept] * weight).sum(dtype=np.uint64)) for c, t in _weighed(table)}
    return {"rows": int(kept.sum()), **sums}


def _bits(column: Column, type_: str) -> Unsigned:
    """Each value as the 64 bits that SQL makes of it."""
    if isinstance(column, tuple):
        codes = np.array([_crc(word) for word in column[1]], np.uint64)
        coded: Unsigned = codes[np.asarray(column[0])]
        return coded
    if "String" in type_:
        return np.array([_crc(value) for value in list(column)], np.uint64)
    values: NDArray[Any] = np.asarray(column)
    if "Float64" in type_:
        floats = values.astype(np.float64)
        found: Unsigned = np.where(np.isnan(floats), np.uint64(NAN), floats.view(np.uint64))
    else:
        found = values.astype(np.int64 if values.dtype.kind in "ib" else np.uint64).view(np.uint64)
    return found


def _crc(value: str | bytes) -> int:
    return zlib.crc32(value.encode() if isinstance(value, str) else value)

"""The features behind outcomes, from ClickHouse."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.clickhouse import Database, quoted_column
from infra.native_format import Column
from models.dataset import Dataset
from models.model import Matrix
from schemas.errors import BackendError
from schemas.rows import Outcome

AGAIN_S: Final = 0.2
MOST_ROWS: Final = 500_000
"""Of a reference that is learnt from what is stored."""
OF_LOG: Final = "log_id = {log:String} AND src_partition = {partition:UInt16}"


class ClickHouseFeatureRows:
    """`streams.drift_watch.FeatureRows`. Rows that scoring has not stored yet are waited for; `BackendError` after `within_s`."""

    def __init__(self, database: Database, name: str, *, within_s: float = 30) -> None:
        self._database, self._name, self._within_s = database, name, within_s

    def rows(self, outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[Matrix, NDArray[np.bool_]]:
        matrix, known = np.full((len(outcomes), len(names)), np.nan), np.zeros(len(outcomes), np.bool_)
        for log_id, partition in sorted({(each.log_id, each.src_partition) for each in outcomes}):
            mine = [i for i, each in enumerate(outcomes) if (each.log_id, each.src_partition) == (log_id, partition)]
            offsets = np.array([outcomes[i].predicted_offset for i in mine], np.int64)
            stored, values = self._found(log_id, partition, offsets, names)
            place = np.searchsorted(stored, offsets)
            there = np.zeros(len(mine), np.bool_)
            if len(stored):
                there = stored[np.minimum(place, len(stored) - 1)] == offsets
            at = np.array(mine)[there]
            matrix[at], known[at] = values[place[there]], True
        return matrix, known

    def _found(
        self, log_id: str, partition: int, offsets: NDArray[np.int64], names: Sequence[str]
    ) -> tuple[NDArray[np.int64], Matrix]:
        """Offsets that are stored, ascending, and their features."""
        deadline, newest = time.monotonic() + self._within_s, int(offsets.max())
        while True:
            passed = self._stored_to(log_id, partition) >= newest
            found = self._asked(log_id, partition, offsets, names)
            if passed or newest in found[0][-1:]:
                return found  # what is missing now will not come any more
            if time.monotonic() > deadline:
                raise BackendError(
                    f"features of {log_id}[{partition}]@{newest}: expected them in ClickHouse since the outcome is told, did not "
                    f"find them in {self._within_s:g} s; is `tickwire score` storing what it says?"
                )
            time.sleep(AGAIN_S)

    def _asked(
        self, log_id: str, partition: int, offsets: NDArray[np.int64], names: Sequence[str]
    ) -> tuple[NDArray[np.int64], Matrix]:
        columns = ", ".join(map(quoted_column, names))
        found = self._database.arrays(
            f"SELECT src_offset, {columns} FROM `{self._name}`.features WHERE {OF_LOG} "  # noqa: S608
            "AND src_offset BETWEEN {first:Int64} AND {last:Int64} AND src_offset IN {offsets:Array(Int64)} "
            "ORDER BY src_offset LIMIT 1 BY src_offset",
            {
                "log": log_id, "partition": partition, "first": int(offsets.min()), "last": int(offsets.max()),
                "offsets": offsets,
            },
        )  # fmt: skip
        if not found:
            return np.empty(0, np.int64), np.empty((0, len(names)))
        return _array(found["src_offset"], np.int64), _matrix(found, names)

    def _stored_to(self, log_id: str, partition: int) -> int:
        sql = f"SELECT if(count() = 0, -1, max(src_offset)) FROM `{self._name}`.features WHERE {OF_LOG}"  # noqa: S608
        return int(self._database.rows(sql, {"log": log_id, "partition": partition}).rows[0][0])


def stored_dataset(
    database: Database, name: str, names: Sequence[str], *, model: str, seconds: float, horizon_ns: int
) -> tuple[Dataset, NDArray[np.float64]]:
    """What matured in the newest `seconds` of event time that a model has scored, and what it had said of it.

    Of more than half a million rows every n-th is taken.
    """
    asked = {"seconds": round(seconds), "horizon": horizon_ns, "model": model}
    where = (
        "model_id = {model:String} AND horizon_ns = {horizon:Int64} AND ts_event > (SELECT max(ts_event) FROM "  # noqa: S608
        f"`{name}`.outcome_scores WHERE model_id = {{model:String}}) - INTERVAL {{seconds:UInt32}} SECOND"
    )
    count = int(database.rows(f"SELECT count() FROM `{name}`.outcome_scores WHERE {where}", asked).rows[0][0])  # noqa: S608
    columns = ", ".join(f"f.{quoted_column(each)} AS {quoted_column(each)}" for each in names)
    found = database.arrays(
        f"SELECT o.symbol AS symbol, toUnixTimestamp64Nano(o.ts_event) AS ts, o.label AS label, "  # noqa: S608
        f"o.log_return AS log_return, o.score AS score, {columns} "
        f"FROM (SELECT * FROM `{name}`.outcome_scores WHERE {where} "
        "AND cityHash64(symbol, predicted_offset) % {every:UInt32} = 0) AS o "
        f"INNER JOIN `{name}`.features AS f ON f.log_id = o.log_id AND f.src_partition = o.src_partition "
        "AND f.src_offset = o.predicted_offset ORDER BY ts, symbol, o.predicted_offset LIMIT 1 BY symbol, ts, o.predicted_offset",
        asked | {"every": 1 + count // MOST_ROWS},
    )
    if not found:
        raise BackendError(
            f"expected outcomes that {model} has scored in {name}.outcome_scores, found none; let `tickwire score` run with it"
        )
    codes, words = _coded(found["symbol"])
    told = Dataset(
        _matrix(found, names), _array(found["label"], np.float64), _array(found["log_return"], np.float64),
        _array(found["ts"], np.int64), codes, words, tuple(names), horizon_ns,
    )  # fmt: skip
    return told, _array(found["score"], np.float64)


def stored_windows(database: Database, name: str, model: str, horizon_ns: int, window_ns: int) -> int:
    """In how many windows of event time the symbol that has most of them has outcomes of a model."""
    found = database.rows(
        "SELECT uniqExact(intDiv(toUnixTimestamp64Nano(ts_event), {window:Int64})) AS windows "  # noqa: S608
        f"FROM `{name}`.outcome_scores WHERE model_id = {{model:String}} AND horizon_ns = {{horizon:Int64}} "
        "GROUP BY symbol ORDER BY windows DESC LIMIT 1",
        {"model": model, "horizon": horizon_ns, "window": window_ns},
    ).rows
    return int(found[0][0]) if found else 0


def _array(column: Column, dtype: Any) -> NDArray[Any]:
    return np.asarray(column, dtype)


def _matrix(found: Mapping[str, Column], names: Sequence[str]) -> Matrix:
    return np.ascontiguousarray(np.column_stack([_array(found[name], np.float64) for name in names]))


def _coded(column: Column) -> tuple[NDArray[np.int64], list[str]]:
    """Symbols as rows of a sorted list of their names."""
    codes, words = column if isinstance(column, tuple) else np.unique(np.asarray(column), return_inverse=True)[::-1]
    names = sorted({str(words[each]) for each in np.unique(np.asarray(codes))})
    at = np.array([names.index(str(word)) if str(word) in names else -1 for word in words], np.int64)
    return at[np.asarray(codes)], names

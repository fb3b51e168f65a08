"""The fold, undisturbed: the whole log through `Shard` in one process and in large blocks, and the bits it comes to."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.clickhouse import Database
from infra.composition import ShardMaker
from processors.features import FEATURE_NAMES
from processors.shard import ShardOutput
from streams.decode import Poll, decode
from tests.faults.checker import Findings
from tests.faults.log_records import Records

BLOCK: Final = 131_072


def compare(database: Database, log_id: str, log: Mapping[int, Records], make: ShardMaker, found: Findings) -> None:
    """Count rows whose features or scores differ in any bit, and outcomes that are missing or too many."""
    for partition, records in log.items():
        shard, outcomes = make(partition), 0
        where = f"src_partition = {partition} AND log_id = '{log_id}'"
        for start in range(0, len(records.values), BLOCK):
            values, at = records.values[start : start + BLOCK], records.offsets[start : start + BLOCK]
            output = shard.advance(decode(Poll(partition, values, at, [0] * len(at))))
            outcomes += len(output.outcomes)
            expected, stored = (
                _folded(output),
                _stored(database, f"{where} AND src_offset BETWEEN {at[0]} AND {at[-1]}"),
            )
            wrong = sum(offset in expected and expected[offset] != bits for offset, bits in stored.items())
            found.add("mismatched_feature_bits", wrong, "a row whose features or scores have other bits")
        ((stored_outcomes,),) = database.rows(f"SELECT count() FROM outcomes WHERE {where}").rows
        found.add("lost", max(outcomes - stored_outcomes, 0), "no row in outcomes")
        found.add("wrong", max(stored_outcomes - outcomes, 0), "a row in outcomes that must not be there")


def _folded(output: ShardOutput) -> dict[int, bytes]:
    """Offset to the bits of features, online score and champion's score, as the fold says them."""
    rows = np.column_stack([output.features.T, output.scores.by_model[:, 0], output.scores.p_up])
    return dict(zip(output.stretch.offsets[output.folded].tolist(), _bits(rows), strict=True))


def _stored(database: Database, where: str) -> dict[int, bytes]:
    """The same, as they are stored."""
    columns = ", ".join(f"f.`{name}`" for name in FEATURE_NAMES)
    found = database.rows(
        f"SELECT f.src_offset, {columns}, ifNull(p.online, nan), ifNull(p.p_up, nan) "
        f"FROM (SELECT * FROM features WHERE {where}) AS f "
        f"INNER JOIN (SELECT src_offset, online, p_up FROM predictions WHERE {where}) AS p USING (src_offset)"
    ).rows
    if not found:
        return {}
    rows = np.array([row[1:] for row in found], np.float64)
    return dict(zip([row[0] for row in found], _bits(rows), strict=True))


def _bits(rows: NDArray[np.float64]) -> list[bytes]:
    """Of each row; what is not finite is one and the same, as it is stored."""
    clean = np.where(np.isfinite(rows), rows, np.nan)
    return [row.tobytes() for row in np.ascontiguousarray(clean)]

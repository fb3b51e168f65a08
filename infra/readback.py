"""Looking whether a block that was acknowledged is there: after a retry, and of each table first, since a token can outlive
its rows.

MergeTree notes the token before it stores the rows. Killed between the two, it takes the retry for a duplicate, answers that
all is well, and the rows are lost (measured: 3 of 480 inserts in doubt). The retry may be that of the next process.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from infra.clickhouse import Database
from infra.fences import end

DAY_MS: Final = 86_400_000
log: Final = logging.getLogger(__name__)


class ReadBack:
    """Counts a block's rows by the log records behind them; a block is one part, so it is there as a whole or not at all."""

    def __init__(self, database: Database, name: str, log_id: str) -> None:
        self._database, self._name, self._log_id = database, name, log_id

    def holds(self, table: str, block: Mapping[str, Any], query_ids: Sequence[str]) -> bool:
        """Whether the rows are there, once none of these inserts runs any more; rows that are there twice are said loudly."""
        end(self._database, query_ids=query_ids)
        partition, offset = np.asarray(block["src_partition"]), np.asarray(block["src_offset"])
        ranges = []
        for each in np.unique(partition):
            of_partition = offset[partition == each]
            ranges.append(
                f"(src_partition = {each} AND src_offset BETWEEN {of_partition.min()} AND {of_partition.max()})"
            )
        found = self._database.rows(
            f"SELECT count() FROM `{self._name}`.`{table}` WHERE log_id = {{log_id:String}} "  # noqa: S608
            f"AND toDate(ts_broker) = toDate({{day:UInt16}}) AND ({' OR '.join(ranges)})",
            {"log_id": self._log_id, "day": int(np.asarray(block["ts_broker"])[0]) // DAY_MS},
        )
        rows = int(found.rows[0][0])
        if rows > len(offset):
            log.error(
                "%s: %d rows where the log makes %d (%s): some are there twice; FINAL and merges drop them, raw counts do not",
                table, rows, len(offset), " OR ".join(ranges),
            )  # fmt: skip
        return rows > 0

"""Keeps every row visible that was ever inserted: a ReplacingMergeTree would merge a doubled row away before anyone saw it."""

import time
from typing import Final

from infra.clickhouse import Database
from tests.faults.checker import KEYS, Findings

NO_MERGES: Final = (
    "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, "
    "parts_to_delay_insert = 100000, parts_to_throw_insert = 100000"
)
RESET: Final = "max_bytes_to_merge_at_max_space_in_pool, max_bytes_to_merge_at_min_space_in_pool"
MERGED_WITHIN_S: Final = 8.0
FEW_PARTS: Final = 60


class RawRows:
    """Holds merges back; now and then the rows are counted first and the parts merged then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        names = set(database.rows("SELECT name FROM system.tables WHERE database = currentDatabase()").column("name"))
        self._tables = [table for table in KEYS if table in names]

    def freeze(self) -> None:
        """No more merges, not even after the engine was killed."""
        for table in self._tables:
            self._database.command(f"ALTER TABLE {table} MODIFY SETTING {NO_MERGES}")

    def count(self, found: Findings) -> None:
        """Add the rows that are there twice."""
        for table in self._tables:
            ((doubled,),) = self._database.rows(f"SELECT count() - uniqExact({KEYS[table]}) FROM {table}").rows
            found.add("duplicate", doubled, f"more than one row in {table} before they were merged")

    def tidy(self, found: Findings) -> None:
        """Count, let the engine merge for a few seconds, and hold it back again."""
        self.count(found)
        for table in self._tables:
            self._database.command(f"ALTER TABLE {table} RESET SETTING {RESET}")
        deadline = time.monotonic() + MERGED_WITHIN_S
        while self._most_parts() > FEW_PARTS and time.monotonic() < deadline:
            time.sleep(0.25)
        self.freeze()

    def _most_parts(self) -> int:
        found = self._database.rows(
            "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts "
            "WHERE database = currentDatabase() AND active GROUP BY table)"
        )
        return int(found.rows[0][0])

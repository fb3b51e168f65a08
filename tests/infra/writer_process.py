"""A small writer, to be killed, stopped and raced: `python -m tests.infra.writer_process URL DIRECTORY UNTIL`.

It takes partition 0 as the scoring process does, goes on behind the high-water mark, and stores blocks of bad records until
offset UNTIL. Exit status 75 where it must not write.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from infra.clickhouse import Database, connect
from infra.locks import locked
from infra.tables import ClickHouseTables
from infra.writers import Claim, Lease
from schemas.errors import WriterError
from tests.fakes import NoMeter
from tests.infra.engine import NAME

TOPIC: Final = "market.events.v1"
LOG_ID: Final = "test-log"
TABLE: Final = "dead_letters"
ROWS: Final = 50
LEASE_S: Final = 2.0


def block(first: int, rows: int = ROWS) -> Mapping[str, Any]:
    """Rows of consecutive offsets of partition 0."""
    offsets = np.arange(first, first + rows)
    return {
        "source": ["events"] * rows, "reason": ["undecodable"] * rows, "detail": ["x"] * rows,
        "ts_ingest": offsets, "raw": [b"?"] * rows, "log_id": [LOG_ID] * rows,
        "src_partition": np.zeros(rows, np.uint16), "src_offset": offsets, "ts_broker": np.full(rows, 1_700_000_000_000),
    }  # fmt: skip


def token(first: int) -> str:
    return f"{LOG_ID}/0:{first}-{first + ROWS - 1}x{ROWS}"


def lease_on(database: Database, lock: str, lease_s: float = LEASE_S) -> Lease:
    """Partition 0, by somebody whose lock is named so."""
    return Lease(database, Claim(NAME, TOPIC, {0: lock}, 1), lease_s, NoMeter(), lambda _: None)


def write(url: str, directory: Path, until: int) -> None:
    with locked(directory, TOPIC, [0], "0") as locks:
        database = connect(url, timeout_s=10, connect_timeout_s=2)
        lease = lease_on(database, locks[0])
        lease.take()
        print("writer", lease.holder, flush=True)
        lease.keep()
        store = ClickHouseTables(database, NAME, LOG_ID, writer=lease)
        try:
            at = store.high_waters([TABLE], 0)[TABLE] + 1
            while at < until:
                store.insert(TABLE, block(at), token(at))
                at += ROWS
                print("stored", at - 1, flush=True)
        finally:
            with suppress(BrokenPipeError):
                lease.release()


if __name__ == "__main__":
    try:
        write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except WriterError as error:
        print(error, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)

"""kill -9 of ClickHouse itself while rows are stored: every block is there, and once."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from infra.tables import ClickHouseTables, create_tables
from infra.telemetry import Telemetry
from processors.features import FEATURE_NAMES
from tests.infra.engine import NAME, EngineProcess, engine
from tests.infra.writer_process import LOG_ID, ROWS, TABLE, block, lease_on, token

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(900)]
KILLS = int(os.environ.get("ENGINE_KILLS", "4"))


class Storing(threading.Thread):
    """Stores one block after the other until told to stop."""

    def __init__(self, store: ClickHouseTables) -> None:
        super().__init__(daemon=True)
        self.store, self.told, self.at, self.failed = store, threading.Event(), 0, None

    def run(self) -> None:
        try:
            while not self.told.is_set():
                self.store.insert(TABLE, block(self.at), token(self.at))
                self.at += ROWS
        except BaseException as error:
            self.failed = error  # type: ignore[assignment]


def kill_at_random(made: EngineProcess, storing: Storing, kills: int, folder: Path, *, as_a_server: bool) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the kills: {seed}")
    moments = random.Random(seed)
    for _ in range(kills):
        before = storing.at
        time.sleep(moments.uniform(0.05, 0.6))
        made.kill()
        if as_a_server:
            (folder / "data" / "stopped_cleanly").touch()  # the embedded engine then repairs nothing as it starts
        made.start()
        deadline = time.monotonic() + 60
        while storing.at == before and storing.failed is None:
            assert time.monotonic() < deadline, "storing did not go on"
            time.sleep(0.01)


@pytest.mark.parametrize("as_a_server", [False, True], ids=["embedded", "server"])
def test_a_clickhouse_that_is_killed_at_random_moments_loses_no_block_and_doubles_none(
    tmp_path: Path, as_a_server: bool
) -> None:
    telemetry = Telemetry()
    with engine(tmp_path) as made:
        database = made.database(timeout_s=5)
        create_tables(database, NAME, FEATURE_NAMES)
        lease = lease_on(database, "lock")
        lease.take()
        lease.keep()
        storing = Storing(ClickHouseTables(database, NAME, LOG_ID, writer=lease, meter=telemetry))
        storing.start()
        kill_at_random(made, storing, KILLS, tmp_path, as_a_server=as_a_server)
        storing.told.set()
        storing.join(60)
        assert storing.failed is None
        lease.release()
        found = database.rows(
            f"SELECT count(), uniqExact(src_offset), min(src_offset), max(src_offset) FROM {NAME}.{TABLE}"
        ).rows
        database.close()
    assert found == [(storing.at, storing.at, 0, storing.at - 1)]
    lines = [line for line in telemetry.exposition().decode().splitlines() if line.startswith("tickwire_clickhouse_re")]
    print(f"{KILLS} kills, {storing.at // ROWS} blocks;", *lines)

"""The flow over lists in a process of its own, twice on one recovery directory: what goes wrong in between is the caller's.

    python -m tests.infra.recovery_run RECOVERY_DIR BALLAST N

Runs until the end of the log or a failure, removes the file BALLAST, runs again, and prints as JSON what each run said, the
rows that are stored, and those of an undisturbed run.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from schemas.topics import EVENTS
from tests.fakes import ListLog, ListStore
from tests.logs import market
from tests.streams.test_flow import Run

TABLES = ("features", "predictions", "bars", "outcomes", "trades", "marks")


def told(store: ListStore) -> dict[str, list[object]]:
    """Offsets of every table, and the bits of one feature."""
    bits = np.array(store.column("features", "vwap_dev_10s")).view(np.uint64).tolist()
    return {table: store.column(table, "src_offset") for table in TABLES} | {"bits": bits}


def main(recovery: Path, ballast: Path, n: int) -> None:
    """Two runs and an undisturbed one."""
    records = {0: [EVENTS.encode(event) for event in market(n)]}
    log, store, said = ListLog(dict(records), per_poll=50), ListStore(), []
    for _ in range(2):
        try:
            Run(log, store).go(recovery)
            said.append("")
        except BaseException as error:
            said.append(f"{type(error).__name__}: {error}; {error.__cause__!r}")
        ballast.unlink(missing_ok=True)
    whole = Run(ListLog(dict(records), per_poll=50)).go(Path(tempfile.mkdtemp()) / "whole").store
    print(json.dumps({"said": said, "stored": told(store), "whole": told(whole)}, default=int))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

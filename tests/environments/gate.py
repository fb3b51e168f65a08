"""`tickwire` as the DAG calls it, on New York's calendar: the gate is the real one, the run only says that it was started."""

import os
import sys
from datetime import timedelta
from pathlib import Path

from infra.cli.schedule import nightly_due
from infra.settings import Settings


def main() -> int:
    """The exit status of the gate; 0 of the run."""
    with Path(os.environ["SAID"]).open("a") as said:
        said.write(" ".join(sys.argv[1:]) + "\n")
    if sys.argv[1] != "nightly-due":
        return 0
    day = sys.argv[sys.argv.index("--date") + 1] if "--date" in sys.argv else ""
    return nightly_due(Settings(data=Path(os.environ["STATE"])), "XNYS", timedelta(minutes=15), day=day, as_json=True)


if __name__ == "__main__":
    sys.exit(main())

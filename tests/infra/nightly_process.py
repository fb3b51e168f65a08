"""`python -m tests.infra.nightly_process DIRECTORY PIECE`: a nightly in a process of its own, that a test may kill."""

import sys
from pathlib import Path

from infra.configured import load
from infra.nightly import plan
from infra.nightly.data_checks import CheckLimits
from infra.nightly.run import Request, nightly

LOOSE = CheckLimits(missing=1.0)
"""The markets of tests are too short for features of minutes."""


def one_code() -> str:
    """A version in place of that of the sources: somebody may edit them while tests run."""
    return "tested"


if __name__ == "__main__":
    plan.code_version = one_code
    nightly(load(), Request(into=Path(sys.argv[1]), piece=int(sys.argv[2]), warm_start=True, limits=LOOSE))

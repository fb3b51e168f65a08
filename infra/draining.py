"""The rest of closed logs: folded to their ends, under their own identities, before the current log goes on (ADR 9)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from infra.drained import Drained
from infra.kafka_log import KafkaLog
from infra.log_identity import LogIdentity, reader_of
from infra.rebuild import RebuildReport
from infra.settings import Settings
from infra.start import Wanted
from infra.stopping import Stop
from infra.writing import ours
from schemas.errors import DiskError, RecoveryError

Fold = Callable[[KafkaLog, LogIdentity, Wanted], None]
"""Folds what is left of one closed log; when it returns or raises, nothing of it is stored any more."""


def drain(settings: Settings, closed: Sequence[LogIdentity], partitions: Sequence[int], fold: Fold, stop: Stop) -> bool:
    """Fold what is left; False where told to stop before that was done.

    State that cannot be gone on from is rebuilt. A disk that fails is no reason to.
    """
    drained = Drained(settings.data / "recovery")
    for log in closed:
        if left := drained.unfinished(log, partitions):
            reader = replace(reader_of(settings.kafka, log, partitions), gives_up=True)
            gaps: list[tuple[int, int, int]] = []
            wanted = Wanted(accept_loss=True, last=False, done=partial(_note_gaps, gaps))
            try:
                fold(reader, log, wanted)
            except Exception as error:
                found = ours(error)
                if isinstance(found, DiskError) or not isinstance(found, RecoveryError):
                    raise
                structlog.get_logger().warning("state of a closed log is rebuilt", reason=str(found))
                fold(reader, log, replace(wanted, rebuild=True))
            if stop.is_set():
                return False
            drained.mark(log, left, reader.lost, gaps)
    return True


def _note_gaps(gaps: list[tuple[int, int, int]], report: RebuildReport) -> None:
    gaps += report.lost

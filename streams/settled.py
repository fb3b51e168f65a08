"""How far each partition must have been stored by now: what is on its way is not lost, and what is not on its way is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from processors.batch import NS
from schemas.rows import ScoreStatus
from streams.ports import Clock

LOOK_EVERY_S: Final = 0.5
GONE_AFTER_S: Final = 12.0
"""Nobody has said for so long that he scores: nobody does."""
SAME_START_NS: Final = NS // 2


class Statuses(Protocol):
    """What the scoring processes say of themselves."""

    def scores(self) -> Sequence[ScoreStatus]:
        """One document a process that is alive."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. settle: from being folded to being stored, two epochs and a store. most: without a step towards the end."""

    settle_s: float
    most_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Seen:
    position: int
    started_ns: int


def settled(
    statuses: Statuses, clock: Clock, log_id: str, ends: Mapping[int, int], patience: Patience
) -> Mapping[int, int]:
    """Partition to the offset below which every row must be stored, at most `ends`; left out where nobody scores it.

    A process that has folded a record has stored it two epochs later, or died: only one that lived through that time counts.
    """
    wanted = {p: end for p, end in ends.items() if end > 0}
    moved_at = heard_at = clock.now_ns()
    furthest = -1
    while wanted:
        seen, now = _look(statuses, log_id, wanted), clock.now_ns()
        if seen:
            heard_at = now
        if (done := sum(each.position for each in seen.values())) > furthest:
            furthest, moved_at = done, now
        over = now - moved_at >= patience.most_s * NS or now - heard_at >= GONE_AFTER_S * NS
        if over or all(p in seen and seen[p].position >= end for p, end in wanted.items()):
            if not seen:
                return {}
            clock.sleep(patience.settle_s)
            after = _look(statuses, log_id, wanted)
            lived = {p: min(seen[p].position, wanted[p]) for p in seen if p in after and _same(seen[p], after[p])}
            if len(lived) == len(wanted) or over:
                return lived
        clock.sleep(LOOK_EVERY_S)
    return {}


def _look(statuses: Statuses, log_id: str, wanted: Mapping[int, int]) -> Mapping[int, _Seen]:
    seen = {}
    for status in statuses.scores():
        if status.log_id != log_id:
            continue
        for partition in status.partitions:
            if partition in wanted:
                position = _position(status, partition, wanted[partition])
                seen[partition] = _Seen(position, status.ts - round(status.uptime_s * NS))
    return seen


def _position(status: ScoreStatus, partition: int, end: int) -> int:
    """The next offset to fold; a process that resumed at the end of the log has folded nothing and has no lag."""
    key = str(partition)
    if key in status.offsets:
        return status.offsets[key]
    return end if status.lag.get(key) == 0 and status.uptime_s > GONE_AFTER_S else 0


def _same(one: _Seen, other: _Seen) -> bool:
    return abs(one.started_ns - other.started_ns) < SAME_START_NS and other.position >= one.position

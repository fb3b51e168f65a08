"""To have judged nothing is not to have found nothing wrong: records that nobody scores and ClickHouse has nothing of."""

from collections.abc import Callable, Container, Mapping, Sequence

from schemas.errors import LogError
from streams.verify import Plan


def confirm_judged(
    plans: Sequence[Plan], asked: Mapping[int, int], scored: Container[int], folded: Callable[[int], int | None]
) -> None:
    """`LogError` where nothing at all is judged, or nothing of a partition of which something was folded.

    asked    partition to the end of what is to be judged, for those that have records on the log
    scored   partitions that somebody scores: he may only be behind
    folded   how many records of a partition its ledger has seen folded, None where it has no line; a partition of heartbeats
             alone has lines, and nothing in them that could be judged
    """
    wanted = [plan for plan in plans if plan.begin < asked.get(plan.partition, 0)]
    left = [plan for plan in wanted if plan.end <= plan.begin and plan.partition not in scored]
    if len(left) < len(wanted):
        left = [plan for plan in left if plan.position <= plan.first and folded(plan.partition) != 0]
    if left:
        told = "; ".join(f"partition {p.partition}: records {p.begin} to {asked[p.partition] - 1}" for p in left)
        raise LogError(
            f"expected rows in ClickHouse of what is on the log, found none, and nobody scores ({told}): nothing of it was "
            "judged; start `tickwire score` if it has not been scored yet, else ClickHouse has lost rows: run `tickwire rebuild`"
        )

"""Who scores live, by the log's word: what the newest outcomes name, and the newest change of the models."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from infra.clickhouse import Database
from infra.models.line_up import newest_line_up
from infra.outcomes_log import newest_outcomes
from infra.settings import Settings
from processors.scores import NO_MODEL, ONLINE
from schemas.rows import Outcome

IDLE_NS: Final = 600_000_000_000
"""Of event time. A fold quarantines a model in its own partition alone, and an idle partition names who served long ago."""


class Live(Struct, frozen=True):
    """serving: id of the champion, empty where no outcome tells (none yet, or none for longer than the topic keeps them);
    challengers: ids of those that score beside it."""

    serving: str
    challengers: tuple[str, ...] = ()


def live_models(settings: Settings, database: Database, log_id: str) -> Live:
    """As of now. A change of the champion shows when the first prediction behind it has matured."""
    champion, challengers = newest_line_up(settings, database, log_id)
    onnx = _onnx(newest_outcomes(settings.kafka))
    if onnx is None:
        return Live("", tuple(challengers.split()))
    online = champion == ONLINE or onnx == NO_MODEL  # where the other one is gone, the online model serves
    return Live(ONLINE if online else onnx, tuple(challengers.split()))


def _onnx(outcomes: Sequence[Outcome]) -> str | None:
    """Which ONNX model most partitions name that are not idle; None where nothing was said yet."""
    newest = {each.src_partition: each for each in sorted(outcomes, key=lambda each: each.ts_event)}
    last_ns = max((each.ts_event for each in newest.values()), default=0)
    named = Counter(each.onnx_id for each in newest.values() if last_ns - each.ts_event <= IDLE_NS)
    return named.most_common(1)[0][0] if named else None

"""Who scores live, by the log's word: what the newest outcomes name, and the newest change of the models."""

from msgspec import Struct

from infra.clickhouse import Database
from infra.models.line_up import newest_line_up
from infra.outcomes_log import newest_outcomes
from infra.settings import Settings
from processors.scores import NO_MODEL, ONLINE


class Live(Struct, frozen=True):
    """serving: id of the champion, empty where nothing has scored yet; challengers: ids of those that score beside it."""

    serving: str
    challengers: tuple[str, ...] = ()


def live_models(settings: Settings, database: Database, log_id: str) -> Live:
    """As of now. A change of the champion shows when the first prediction behind it has matured."""
    champion, challengers = newest_line_up(settings, database, log_id)
    newest = max(newest_outcomes(settings.kafka), key=lambda each: each.ts_event, default=None)
    if newest is None:
        return Live("")
    onnx = newest.onnx_id if newest.onnx_id != NO_MODEL else ""
    return Live(ONLINE if champion == ONLINE else onnx, tuple(challengers.split()))

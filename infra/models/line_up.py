"""Who scores, by the newest change of the models that the history has."""

from infra.clickhouse import Database
from infra.settings import Settings


def newest_line_up(settings: Settings, database: Database, log_id: str) -> tuple[str, str]:
    """(champion: `online` or `onnx`, ids of challengers by blanks) on this log; as the settings say before any change."""
    rows = database.rows(
        f"SELECT champion, challengers FROM `{settings.clickhouse.database}`.model_changes "  # noqa: S608
        "WHERE log_id = {log:String} ORDER BY ts_event DESC, src_offset DESC LIMIT 1",
        {"log": log_id},
    ).rows
    champion, challengers = rows[0] if rows else (settings.fold.champion, "")
    return str(champion), str(challengers)

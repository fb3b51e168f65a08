"""Who scores, by the newest change of the models that the history has of each partition."""

from collections import Counter

from infra.clickhouse import Database
from infra.settings import Settings


def newest_line_up(settings: Settings, database: Database, log_id: str) -> tuple[str, str]:
    """(champion: `online` or `onnx`, ids of challengers by blanks) on this log; as the settings say before any change.

    A change reaches the partitions one after the other, and a fold quarantines a model in its own alone: the champion is
    that of most of them, a challenger is one that scores in any.
    """
    rows = database.rows(
        f"SELECT champion, challengers FROM `{settings.clickhouse.database}`.model_changes "  # noqa: S608
        "WHERE log_id = {log:String} ORDER BY src_partition, src_offset DESC LIMIT 1 BY src_partition",
        {"log": log_id},
    ).rows
    unchanged = max(0, settings.kafka.partitions - len(rows))
    champions = Counter[str]({settings.fold.champion: unchanged})
    champions.update(str(champion) for champion, _ in rows)
    challengers = dict.fromkeys(name for _, names in rows for name in str(names).split())
    return champions.most_common(1)[0][0], " ".join(challengers)

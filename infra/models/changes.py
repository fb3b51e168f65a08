"""Changes of the models go onto the log: one control event into every partition, whose offset is the fence."""

from collections.abc import Callable, Mapping
from typing import Final

from infra.access.audited import record_command
from infra.clickhouse import Database
from infra.clock import WallClock
from infra.kafka_writer import KafkaWriter
from infra.models.shelf import model_of
from infra.models.triton_shadow import connected
from infra.settings import Kafka, Settings
from processors.roster import ONLY_CHALLENGES
from processors.scores import ONLINE
from schemas.control import MODELS, REMOTE, ModelChange, body_of
from schemas.errors import ModelError
from schemas.events import Control
from schemas.topics import EVENTS
from streams.ports import Clock

WITHIN_S: Final = 20.0
NEEDS_MODEL: Final = frozenset({"promote", "challenge"})


def write_change(kafka: Kafka, change: ModelChange, clock: Clock) -> int:
    """Say it on every partition; the event's time, which tells it from others. `DeliveryError` where it was not taken."""
    return write_changes(kafka, dict.fromkeys(range(kafka.partitions), change), clock)


def write_changes(kafka: Kafka, changes: Mapping[int, ModelChange], clock: Clock) -> int:
    """The same, with a change for each partition."""
    now = clock.now_ns()
    writer = KafkaWriter(kafka)
    for partition, change in changes.items():
        event = Control(topic=MODELS, id=change.model, ts_event=now, ts_ingest=now, body=body_of(change))
        writer.send(EVENTS, partition, [("", EVENTS.encode(event))])
    writer.flush()
    return now


def ask(settings: Settings, change: ModelChange) -> int:
    """The same, for a person: a model that could not score is refused here, before it is on the log."""
    checked(settings, change)
    record_command(settings, f"model {change.action}", model=change.model)
    return write_change(settings.kafka, change, WallClock())


def checked(settings: Settings, change: ModelChange) -> None:
    """Return where the model could score. Raises: `ModelError`."""
    model = change.model
    if change.action not in NEEDS_MODEL or model == ONLINE:
        return
    if model.startswith(REMOTE) and change.action == "promote":
        raise ModelError(ONLY_CHALLENGES.format(model))
    if model.startswith(REMOTE):
        connected(settings, model).close()
    elif model_of(settings, model, settings.models.provider) is None:
        raise ModelError(
            f"{model} is not among the models in {settings.data / 'models'}, or cannot be used; "
            "`tickwire models` lists them, `tickwire models register` brings one"
        )


def taken(
    database: Database,
    name: str,
    at_ns: int,
    partitions: int,
    sleep: Callable[[float], None],
    within_s: float = WITHIN_S,
) -> Mapping[int, tuple[int, str]]:
    """Partition to the offset of the fence and why it was refused there, once scoring has stored it, or the time is over."""
    waited, found = 0.0, dict[int, tuple[int, str]]()
    sql = (
        f"SELECT src_partition, min(src_offset), any(refused) FROM `{name}`.model_changes "  # noqa: S608
        f"WHERE ts_event = fromUnixTimestamp64Nano({at_ns}) GROUP BY src_partition ORDER BY src_partition"
    )
    while waited < within_s:
        found = {int(p): (int(offset), str(refused)) for p, offset, refused in database.rows(sql).rows}
        if len(found) == partitions:
            break
        sleep(0.25)
        waited += 0.25
    return found

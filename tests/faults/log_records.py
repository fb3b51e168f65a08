"""What is on a topic, read by a plain consumer from its first record; nothing of the product is used."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, TopicPartition

ANSWER_S: Final = 20
MOST: Final = 20_000


@dataclass(slots=True)
class Records:
    """One partition: first and next offset as the broker says, and every record between them."""

    first: int
    end: int
    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)


def read(bootstrap: str, topic: str, partitions: int) -> dict[int, Records]:
    """Everything that is on the topic now, by partition."""
    return {partition: _partition(bootstrap, topic, partition) for partition in range(partitions)}


def _partition(bootstrap: str, topic: str, partition: int) -> Records:
    found: Records | None = None
    for part in stretches(bootstrap, topic, partition):
        if found is None:
            found = part
        else:
            found.offsets += part.offsets
            found.values += part.values
    assert found is not None
    return found


def stretches(bootstrap: str, topic: str, partition: int) -> Iterator[Records]:
    """The same in stretches, for what does not fit into memory; at least one, which may be empty."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap, "group.id": "faults", "enable.auto.commit": False,
            "auto.offset.reset": "error", "isolation.level": "read_committed", "log_level": 3,
        }
    )  # fmt: skip
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)
        yield Records(first, end)
        consumer.assign([TopicPartition(topic, partition, first)])
        at, heard = first, monotonic()
        while at < end:
            messages = consumer.consume(MOST, 0.5)
            good = [message for message in messages if message.error() is None and message.offset() < end]
            if good:
                at, heard = good[-1].offset() + 1, monotonic()
                yield Records(first, end, [m.offset() for m in good], [m.value() or b"" for m in good])
            assert monotonic() - heard < ANSWER_S, f"{topic}[{partition}]: nothing at {at} of {first} to {end}"
    finally:
        consumer.close()

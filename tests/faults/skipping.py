"""`python -m tests.faults.skipping score …`: the command line with a source that loses one record."""

from infra.cli.main import main
from infra.kafka_log import KafkaPartitionReader
from streams.decode import Poll

BEHIND = 200
"""The record that is lost is the first of a poll that begins behind this offset."""


def lose_one() -> None:
    """Have one reader leave out one record."""
    polled, lost = KafkaPartitionReader.poll, []

    def poll(self: KafkaPartitionReader, most: int) -> Poll | None:
        found = polled(self, most)
        if lost or found is None or found.offsets[0] < BEHIND or len(found.offsets) < 2:
            return found
        lost.append(found.offsets[0])
        return Poll(found.partition, found.values[1:], found.offsets[1:], found.ts_broker[1:])

    KafkaPartitionReader.poll = poll  # type: ignore[method-assign]


if __name__ == "__main__":
    lose_one()
    main()

"""A producer that is finished is replaced, and what it did not deliver is sent again in order, however it says so."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import infra.lasting_producer
from infra.kafka_writer import KafkaWriter
from infra.lasting_producer import LastingProducer
from infra.settings import Kafka
from schemas.errors import DeliveryError
from schemas.topics import PREDICTIONS

Delivered = Callable[[KafkaError | None, Any], None]
FINISHED = KafkaError(KafkaError._FATAL, "out of order sequence number", True)


class Record:
    """What the client hands back."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self._value

    def headers(self) -> None:
        return None


class Client:
    """confluent-kafka's producer as far as ours uses it; the first one fails at its first flush."""

    made: list["Client"]
    fails_with: BaseException

    def __init__(self, config: dict[str, Any]) -> None:
        self.waiting: list[tuple[bytes, Delivered]] = []
        self.taken: list[bytes] = []
        self.purged = False
        self.first = not self.made
        self.made.append(self)

    def __len__(self) -> int:
        return len(self.waiting)

    def produce(self, topic: str, value: bytes, key: Any, partition: int, on_delivery: Delivered, headers: Any) -> None:
        self.waiting.append((value, on_delivery))

    def poll(self, seconds: float) -> int:
        return 0

    def purge(self) -> None:
        self.purged = True

    def flush(self, seconds: float) -> int:
        if self.first and not self.purged:
            raise self.fails_with
        return self.settle(reversed(self.waiting))  # "almost in order", at its worst

    def settle(self, waiting: Iterable[tuple[bytes, Delivered]]) -> int:
        """Say of every record that waits whether it was taken."""
        told_of, self.waiting = list(waiting), []
        for value, told in told_of:
            if self.purged:
                told(KafkaError(KafkaError._PURGE_QUEUE), Record(value))
            else:
                self.taken.append(value)
                told(None, Record(value))
        return 0


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    made: list[Client] = []
    monkeypatch.setattr(Client, "made", made, raising=False)
    monkeypatch.setattr(infra.lasting_producer, "Producer", Client)
    return made


@pytest.mark.parametrize(
    "fails_with",
    [
        KafkaException(FINISHED),
        SystemError("<method flush> returned NULL without setting an exception"),
        SystemError("<method flush> returned a result with an exception set"),
    ],
    ids=["said", "without a word", "with another"],
)
def test_what_a_finished_producer_did_not_deliver_is_sent_again_by_another(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch, fails_with: BaseException
) -> None:
    monkeypatch.setattr(Client, "fails_with", fails_with, raising=False)
    producer, values = LastingProducer({}), [b"%d" % number for number in range(9)]
    for value in values:
        producer.produce("t", 0, None, value, None)
    assert producer.flush(5) == 0
    producer.complain()
    first, second = clients
    assert first.taken == []
    assert second.taken == values[::-1], "this client tells in reverse; it was given them in order"


def test_a_broker_that_finishes_every_producer_is_given_up(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "fails_with", KafkaException(FINISHED), raising=False)
    monkeypatch.setattr(Client, "__init__", _always_first)
    producer = LastingProducer({})
    producer.produce("t", 0, None, b"x", None)
    with pytest.raises(DeliveryError, match="refused 5 producers"):
        producer.flush(5)


def _always_first(self: Client, config: dict[str, Any]) -> None:
    self.waiting, self.taken, self.purged, self.first = [], [], False, True
    self.made.append(self)


class Orderly(Client):
    """Hands back in order. The first two are finished at their first flush; with `polls`, at their first poll.

    full  how often each has no room for a record behind its first one
    """

    polls = False
    full = 0

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.finished = len(self.made) <= 2

    def produce(self, topic: str, value: bytes, key: Any, partition: int, on_delivery: Delivered, headers: Any) -> None:
        if self.waiting and self.full:
            self.full -= 1
            raise BufferError
        super().produce(topic, value, key, partition, on_delivery, headers)

    def poll(self, seconds: float) -> int:
        if self.polls and self.finished and not self.purged:
            raise KafkaException(FINISHED)
        return 0

    def flush(self, seconds: float) -> int:
        if self.finished and not self.purged:
            raise KafkaException(FINISHED)
        return self.settle(self.waiting)


@pytest.fixture
def orderly(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    monkeypatch.setattr(infra.lasting_producer, "Producer", Orderly)
    return clients


def messages(*numbers: int) -> list[tuple[str, bytes]]:
    return [("A", b"%d" % number) for number in numbers]


def test_records_keep_their_order_through_two_renewals(orderly: list[Client]) -> None:
    writer = KafkaWriter(Kafka(bootstrap="nowhere:1"))
    writer.send(PREDICTIONS, 0, messages(1, 2))
    writer._producer._judge(FINISHED)
    writer.send(PREDICTIONS, 0, messages(3, 4))  # the poll behind it puts the second one in the place of the first
    writer.send(PREDICTIONS, 0, messages(5, 6))
    writer.flush()
    assert [client.taken for client in orderly] == [[], [], [b"1", b"2", b"3", b"4", b"5", b"6"]]


def test_a_record_that_found_the_queue_full_keeps_its_place(
    orderly: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Orderly, "full", 1)
    writer = KafkaWriter(Kafka(bootstrap="nowhere:1"))
    writer.send(PREDICTIONS, 0, messages(1, 2, 3))
    writer.flush()
    assert orderly[-1].taken == [b"1", b"2", b"3"]


def test_records_of_one_batch_keep_their_order_where_the_client_hands_them_back_out_of_order(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As librdkafka may where it is purged: what came last was still in another queue, and comes first."""
    monkeypatch.setattr(Client, "fails_with", KafkaException(FINISHED), raising=False)
    writer = KafkaWriter(Kafka(bootstrap="nowhere:1"))
    writer.send(PREDICTIONS, 0, messages(1, 2, 3))
    writer.flush()
    assert clients[-1].taken == [b"3", b"2", b"1"], "this client tells in reverse; it was given them in order"


def test_a_batch_goes_on_at_the_producer_that_was_put_in_its_place(
    orderly: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has no room left, and is found to be finished while one waits for it."""
    monkeypatch.setattr(Orderly, "polls", True)
    monkeypatch.setattr(Orderly, "full", 2)
    writer = KafkaWriter(Kafka(bootstrap="nowhere:1"))
    writer.send(PREDICTIONS, 0, messages(1, 2, 3))
    writer.flush()
    assert orderly[-1].taken == [b"1", b"2", b"3"]

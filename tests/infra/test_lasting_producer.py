"""A producer that is finished is replaced, and what it did not deliver is sent again in order, however it says so."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import infra.lasting_producer
from infra.lasting_producer import LastingProducer
from schemas.errors import DeliveryError

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
        waiting, self.waiting = self.waiting, []
        for value, told in reversed(waiting):  # "almost in order", at its worst
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

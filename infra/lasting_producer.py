"""An idempotent producer that goes on after the broker has lost the end of its log.

Such a broker (the embedded one when it is killed, Kafka after an unclean election) no longer knows what the producer's next
record follows on, and that producer is finished. Another one takes its place and sends everything that was not acknowledged
again, in order; what had arrived all the same is a duplicate by its identity, which the fold drops.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import DeliveryError

SEQUENCE_LOST: Final = frozenset(
    {
        KafkaError._FATAL, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.UNKNOWN_PRODUCER_ID, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT,
    }
)  # fmt: skip
"""What records come back with from a producer that is finished; the last two are our own doing."""
UNTOLD: Final = frozenset({KafkaError._FATAL, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
RENEWALS: Final = 5
RENEWALS_WITHIN_S: Final = 60.0
HANDED_BACK_WITHIN_S: Final = 5.0


class LastingProducer:
    """A `Producer` that is replaced where the broker will take nothing more from it; it forgets no failure."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {**config, "error_cb": self._judge}
        self._why = ""
        self._numbers = count(1)
        self._returned: list[tuple[int, KafkaError | None, Message]] = []
        self._failed: list[str] = []
        self._unsent: list[tuple[int, Message]] = []
        self._renewed: deque[float] = deque(maxlen=RENEWALS)
        self._lock = threading.RLock()
        self.inner = Producer(self._config)

    def undelivered(self) -> Callable[[KafkaError | None, Message], None]:
        """The delivery callback of one record, for whoever produces by `inner`: its place in the order."""
        return partial(self._undelivered, next(self._numbers))

    def _undelivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        """The client calls this with its own exception pending once the producer is finished: any call would fail here."""
        self._returned += [(number, error, message)]

    def produce(self, topic: str, partition: int, key: Any, value: Any, headers: Any) -> None:
        """Hand a record over; waits while the queue is full. DeliveryError where it or one before it cannot be taken."""
        while True:
            told = self.undelivered()  # anew each time: behind what a renewal has sent again meanwhile
            try:
                self.inner.produce(topic, value, key, partition, on_delivery=told, headers=headers)
                return
            except BufferError:
                self._serve(self.inner.poll, 0.05)
                self.complain()
            except KafkaException as error:
                self._judge(error.args[0])
                if not self._why:
                    raise DeliveryError(f"{topic}[{partition}] takes no record: {error.args[0].str()}") from error
                self._renew()

    def poll(self) -> None:
        """Hear what became of records, and put a new producer in the place of one that is finished."""
        self._serve(self.inner.poll, 0)
        if self._why:
            self._renew()

    def flush(self, seconds: float) -> int:
        """Wait until everything is acknowledged; how many are not when the time is over."""
        deadline = time.monotonic() + seconds
        left = self._serve(self.inner.flush, seconds)
        while self._why:
            self._renew()
            left = self._serve(self.inner.flush, max(0.0, deadline - time.monotonic()))
        return left

    def complain(self) -> None:
        """DeliveryError where a record was given up; told once."""
        if self._why:
            self._renew()
        with self._lock:
            if self._failed:
                told, self._failed = self._failed[0], []
                raise DeliveryError(f"the broker did not acknowledge a record: {told}")

    def _serve(self, call: Callable[[float], int], seconds: float) -> int:
        """Have the client call back; what it raises of its own accord is only that the producer is finished."""
        try:
            left = call(seconds)
        except (KafkaException, SystemError) as error:
            self._judge(_kafka_error(error))
            left = len(self.inner)
        self._sort()
        return left

    def _sort(self) -> None:
        with self._lock:
            returned, self._returned = self._returned, []
            for number, error, message in returned:
                if error is None:
                    continue
                self._judge(error)
                if self._why and error.code() in SEQUENCE_LOST:
                    self._unsent.append((number, message))
                else:
                    self._failed.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    def _judge(self, error: KafkaError) -> None:
        """Note whether it has met an error after which it takes nothing more."""
        finished = error.fatal() or error.code() in SEQUENCE_LOST
        if finished and (not self._why or error.code() not in UNTOLD):
            self._why = error.str()

    def _renew(self) -> None:
        with self._lock:
            if not self._why:  # another thread did
                return
            now = time.monotonic()
            if len(self._renewed) == RENEWALS and now - self._renewed[0] < RENEWALS_WITHIN_S:
                raise DeliveryError(
                    f"the broker refused {RENEWALS} producers within {RENEWALS_WITHIN_S:g} s: {self._why}"
                )
            self._renewed.append(now)
            self.inner.purge()
            while (
                left := self._serve(self.inner.flush, HANDED_BACK_WITHIN_S)
            ) and time.monotonic() - now < HANDED_BACK_WITHIN_S:
                continue
            if left:
                raise DeliveryError(f"{left} records were not handed back by a producer that is finished: {self._why}")
            again, self._unsent, why = self._unsent, [], self._why
            self.inner, self._why = Producer(self._config), ""
            structlog.get_logger().warning("goes on with a new producer", reason=why, sent_again=len(again))
            for _, message in sorted(again, key=itemgetter(0)):  # the client hands them back almost in order
                self.produce(
                    message.topic() or "", message.partition() or 0, message.key(), message.value(), message.headers()
                )


def _kafka_error(error: BaseException) -> KafkaError:
    """The client's own word behind an exception that it, or Python on its behalf, has raised.

    Where that word is gone, as in "returned NULL without setting an exception", it is that the producer is finished: nothing
    else makes the client raise while it calls back, and at worst a producer is replaced that would have gone on.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, KafkaException):
            told: KafkaError = found.args[0]
            return told
        found = found.__cause__ or found.__context__
    return KafkaError(KafkaError._FATAL, f"the client did not say why: {error}", True)

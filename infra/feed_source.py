"""What the feed is made of, read from Kafka: our topics always, the events log only while somebody wants something of it.

Reading begins a little in the past, so that a client which lost its connection when we started gets what it missed. Numbers
mean something within one log: messages of another one are left out, and a new log begins a new epoch.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Union

import msgspec
import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from api.feed.channels import CHANNEL_OF_EVENT, CHANNEL_OF_TOPIC, CHANNELS
from api.feed.hub import FeedHub
from api.feed.inbox import Item, Topical
from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.settings import Kafka
from schemas.errors import SchemaError
from schemas.events import Cancel, Correction, NewsSignal, Quote, Trade
from schemas.topics import BARS, EVENTS
from streams.decode import LARGEST

MOST: Final = 4096
WAIT_S: Final = 0.1
BACK_MS: Final = 30_000
MOST_BACK: Final = 20_000
"""Messages of one partition that are read again at the start."""
FILL_S: Final = 5.0
"""Clients wait no longer for what is read again."""
OF_EVENTS: Final = frozenset(CHANNEL_OF_EVENT.values())
ALWAYS: Final = frozenset(name for name, channel in CHANNELS.items() if channel.topic in CHANNEL_OF_TOPIC)


class _Said(msgspec.Struct):
    """What is needed of a message of the flow."""

    log_id: str = ""
    seq: int = 0
    kind: str = ""
    kind_seq: int = 0
    rev: int = 0


_SAID: Final = msgspec.json.Decoder(_Said)
_EXACT: Final = msgspec.json.Decoder(
    Union[  # noqa: UP007
        tuple(
            msgspec.defstruct(
                each.__name__, (), bases=(each,), tag_field="type", tag=each.__struct_config__.tag, kw_only=True,
                frozen=True, gc=False, forbid_unknown_fields=True,
            )
            for each in (Trade, Quote, NewsSignal, Correction, Cancel)
        )
    ]
)  # fmt: skip
"""Events that say nothing but what we know: every number in them is bounded, so every view can show it."""
DEEPER: Final = 100
"""Levels of lists and objects that there must be room for around an event: a client finds it inside a frame."""


@dataclass
class CurrentLog:
    """Which log's numbers the hub shows; `ask`: for the log that grows now."""

    hub: FeedHub
    log_id: str
    ask: Callable[[], str]
    _others: set[str] = field(default_factory=set)

    def turn_to(self, log_id: str) -> Sequence[Item]:
        """What comes before a message of this log: the new epoch, where the log has just begun and is ours from now on."""
        if log_id == self.log_id or log_id in self._others:
            return ()
        if log_id != self.ask():
            self._others.add(log_id)
            return ()
        self._others.add(self.log_id)
        self.log_id = log_id
        return (lambda: self.hub.begin_epoch(log_id),)


def said_by_flow(log: CurrentLog | None, topics: Mapping[str, str]) -> Callable[[Any], Sequence[Item]]:
    """How to read the topics that we write: by topic, its channel. Without a log nothing has a number of its own."""

    def read(message: Any) -> Sequence[Item]:
        channel, symbol, payload = topics[message.topic()], message.key().decode(), message.value()
        if log is None:
            return [Topical(channel, symbol, payload)]
        said = _SAID.decode(payload)
        before = log.turn_to(said.log_id)
        if said.log_id != log.log_id:
            return []
        if CHANNELS[channel].linked:
            return [*before, Topical(channel, symbol, payload, message.offset() + 1)]
        topical = [Topical(channel, symbol, payload, said.seq or None, said.rev > 0)]
        if CHANNELS[channel].topic == BARS.name and f"bars.{said.kind}" in CHANNELS:
            topical.append(Topical(f"bars.{said.kind}", symbol, payload, said.kind_seq or None, said.rev > 0))
        return [*before, *topical]

    return read


def on_the_log(message: Any) -> list[Topical]:
    """How to read events; those that belong to no channel are nobody's.

    Raises: `SchemaError` for what the fold rejects too, and for what cannot be said in every format and to every client.
    """
    key, value = message.key(), message.value()
    if not key:
        return []
    channel = CHANNEL_OF_EVENT.get(_event(value).__struct_config__.tag)
    return [] if channel is None else [Topical(channel, key.decode(), value, message.offset() + 1)]


def _event(value: bytes) -> Any:
    if len(value) > LARGEST:
        raise SchemaError(f"expected at most {LARGEST} bytes, found {len(value)}")
    try:
        return _EXACT.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = EVENTS.decode(value)  # of another build, or none that belongs to a channel
    try:
        msgspec.msgpack.encode(msgspec.json.decode(b"[" * DEEPER + value + b"]" * DEEPER))
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise SchemaError(f"its fields that we do not know cannot be said to clients: {error}") from error
    return event


@dataclass
class FeedSource:
    """Reads some topics into the hub, from a thread of its own, while `wanted` says so.

    read: what a record says, to whom. channels: those that it fills.
    """

    kafka: Kafka
    hub: FeedHub
    topics: Sequence[str]
    channels: Collection[str]
    read: Callable[[Any], Sequence[Item]]
    now_ms: Callable[[], int]
    wanted: Callable[[], bool] = lambda: True
    _lost: bool = field(default=False, init=False)
    """The broker no longer has what was to be read next: reading cannot go on as if nothing were missing."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            if self.wanted():
                self._follow(stop)
                self.hub.between(self._begin_anew)
            else:
                stop.wait(WAIT_S)

    def _begin_anew(self) -> None:
        """Nobody has listened from here on."""
        self.hub.filling |= set(self.channels)
        self.hub.forget(self.channels)

    def _follow(self, stop: threading.Event) -> None:
        """Hand on what is read, until nobody wants it, or some of what would come next is gone."""
        consumer, self._lost = Consumer({**client_config(self.kafka), **READER}), False
        try:
            deadline = time.monotonic() + FILL_S
            left: dict[tuple[str, int], int] | None = self._assign(consumer)
            while not stop.is_set() and not self._lost and self.wanted():
                if left is not None and (not left or time.monotonic() > deadline):
                    self.hub.between(lambda: self.hub.filled(self.channels))
                    left = None
                first = consumer.poll(WAIT_S)
                if first is not None:  # consume() with a wait would wait for MOST of them
                    messages = [first, *consumer.consume(MOST, 0)]
                    self.hub.publish_many(self._topical(messages))
                    _cross_off(left, messages)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> dict[tuple[str, int], int]:
        """Begin `BACK_MS` ago, or `MOST_BACK` messages; where reading has caught up, by topic and partition, where not yet."""
        whole = [TopicPartition(topic, p) for topic in self.topics for p in range(self.kafka.partitions)]
        try:
            then = [TopicPartition(each.topic, each.partition, self.now_ms() - BACK_MS) for each in whole]
            starts = {(each.topic, each.partition): each.offset for each in consumer.offsets_for_times(then, ANSWER_S)}
            ends = {(each.topic, each.partition): consumer.get_watermark_offsets(each, ANSWER_S)[1] for each in whole}
        except KafkaException as error:
            structlog.get_logger().warning("the feed begins with what comes next", reason=str(error))
            starts, ends = {}, {}
        chosen = []
        for topic, partition in [(each.topic, each.partition) for each in whole]:
            start, end = starts.get((topic, partition), -1), ends.get((topic, partition), OFFSET_END)
            at = end if start < 0 else max(start, end - MOST_BACK)
            chosen.append(TopicPartition(topic, partition, at))
        consumer.assign(chosen)
        return {
            (each.topic, each.partition): end
            for each in chosen
            if each.offset < (end := ends.get((each.topic, each.partition), OFFSET_END))
        }

    def _topical(self, messages: Sequence[Any]) -> list[Item]:
        """What can be handed on; the rest is told."""
        topical: list[Item] = []
        for message in messages:
            if message.error() is not None:
                self._lost |= message.error().code() == KafkaError._AUTO_OFFSET_RESET
                structlog.get_logger().warning("feed", reason=message.error().str())
            elif message.key() is None or message.value() is None:
                structlog.get_logger().warning("feed", reason="a record without key or value", topic=message.topic())
            else:
                topical += self._read(message)
        return topical

    def _read(self, message: Any) -> Sequence[Item]:
        try:
            return self.read(message)
        except (msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError) as error:
            at = f"{message.topic()}[{message.partition()}]@{message.offset()}"
            structlog.get_logger().warning(
                "feed", reason=f"{at}: expected a message of ours, found another one: {error}"
            )
            return []


def _cross_off(left: dict[tuple[str, int], int] | None, messages: Sequence[Any]) -> None:
    for message in messages if left else ():
        at = (message.topic(), message.partition())
        if left and at in left and message.error() is None and message.offset() + 1 >= left[at]:
            del left[at]


def sources(
    kafka: Kafka, hub: FeedHub, now_ms: Callable[[], int], current_log: Callable[[], str]
) -> Sequence[FeedSource]:
    """Everything that the feed shows of the live system."""
    hub.filling |= ALWAYS | OF_EVENTS
    said = said_by_flow(CurrentLog(hub, hub.epoch, current_log), CHANNEL_OF_TOPIC)

    def wanted() -> bool:
        return not hub.asked.isdisjoint(OF_EVENTS)

    return (
        FeedSource(kafka, hub, list(CHANNEL_OF_TOPIC), ALWAYS, said, now_ms),
        FeedSource(kafka, hub, [EVENTS.name], OF_EVENTS, on_the_log, now_ms, wanted),
    )


def replay_source(kafka: Kafka, hub: FeedHub, now_ms: Callable[[], int], topics: Mapping[str, str]) -> FeedSource:
    """What a replay says, by its topics; it may be made anew, so the hub counts."""
    return FeedSource(kafka, hub, list(topics), frozenset(topics.values()), said_by_flow(None, topics), now_ms)

"""What the feed is made of, read from Kafka: our topics always, the events log only while somebody wants something of it.

Reading begins a little in the past, so that a client which lost its connection when we started gets what it missed. Numbers
mean something within one log: messages of another one are left out, and a new log begins a new epoch.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from api.feed.channels import CHANNEL_OF_EVENT, CHANNEL_OF_TOPIC, CHANNELS
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from infra.kafka import ANSWER_S, client_config
from infra.kafka_log import READER
from infra.settings import Kafka
from schemas.errors import SchemaError
from schemas.topics import BARS, EVENTS

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


class _Event(msgspec.Struct):
    """What is needed of an event."""

    type: str


_SAID: Final = msgspec.json.Decoder(_Said)
_EVENT: Final = msgspec.json.Decoder(_Event)


@dataclass
class CurrentLog:
    """Which log's numbers the hub shows; `ask`: for the log that grows now."""

    hub: FeedHub
    log_id: str
    ask: Callable[[], str]
    _others: set[str] = field(default_factory=set)

    def is_ours(self, log_id: str) -> bool:
        """Whether a message of this log is to be sent; a log that has just begun is, from now on."""
        if log_id != self.log_id and log_id not in self._others:
            if log_id == self.ask():
                self._others.add(self.log_id)
                self.log_id = log_id
                self.hub.between(lambda: self.hub.begin_epoch(log_id))
            else:
                self._others.add(log_id)
        return log_id == self.log_id


def said_by_flow(log: CurrentLog | None, topics: Mapping[str, str]) -> Callable[[Any], list[Topical]]:
    """How to read the topics that we write: by topic, its channel. Without a log nothing has a number of its own."""

    def read(message: Any) -> list[Topical]:
        channel, symbol, payload = topics[message.topic()], message.key().decode(), message.value()
        if log is None:
            return [Topical(channel, symbol, payload)]
        said = _SAID.decode(payload)
        if not log.is_ours(said.log_id):
            return []
        if CHANNELS[channel].linked:
            return [Topical(channel, symbol, payload, message.offset() + 1)]
        topical = [Topical(channel, symbol, payload, said.seq or None, said.rev > 0)]
        if CHANNELS[channel].topic == BARS.name and f"bars.{said.kind}" in CHANNELS:
            topical.append(Topical(f"bars.{said.kind}", symbol, payload, said.kind_seq or None, said.rev > 0))
        return topical

    return read


def on_the_log(message: Any) -> list[Topical]:
    """How to read events; those that belong to no channel are nobody's."""
    channel = CHANNEL_OF_EVENT.get(_EVENT.decode(message.value()).type)
    if channel is None or not message.key():
        return []
    return [Topical(channel, message.key().decode(), message.value(), message.offset() + 1)]


@dataclass
class FeedSource:
    """Reads some topics into the hub, from a thread of its own, while `wanted` says so.

    read: what a record says, to whom. channels: those that it fills.
    """

    kafka: Kafka
    hub: FeedHub
    topics: Sequence[str]
    channels: Collection[str]
    read: Callable[[Any], list[Topical]]
    now_ms: Callable[[], int]
    wanted: Callable[[], bool] = lambda: True

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
        consumer = Consumer({**client_config(self.kafka), **READER, "auto.offset.reset": "latest"})
        try:
            deadline = time.monotonic() + FILL_S
            left: dict[tuple[str, int], int] | None = self._assign(consumer)
            while not stop.is_set() and self.wanted():
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

    def _topical(self, messages: Sequence[Any]) -> list[Topical]:
        """What can be handed on; the rest is told."""
        topical: list[Topical] = []
        for message in messages:
            if message.error() is not None:
                structlog.get_logger().warning("feed", reason=message.error().str())
            elif message.key() is None or message.value() is None:
                structlog.get_logger().warning("feed", reason="a record without key or value", topic=message.topic())
            else:
                topical += self._read(message)
        return topical

    def _read(self, message: Any) -> list[Topical]:
        try:
            return self.read(message)
        except (msgspec.MsgspecError, SchemaError, UnicodeDecodeError) as error:
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

"""Every topic: its name, key, partitions, retention and the type of its values, in one declaration each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

from schemas.drift import DriftEvent
from schemas.errors import SchemaError
from schemas.events import Event, NewsItem
from schemas.rows import Alert, Bar, DeadLetter, Outcome, Prediction

V = TypeVar("V")
DAY_MS = 86_400_000
PARTITIONS = 12
SCHEMA_HEADER = "schema"


def _key_of_event(event: Any) -> str:
    """The symbol; broadcast events have none and are written to every partition by number."""
    return getattr(event, "symbol", "")


@dataclass(frozen=True)
class Topic(Generic[V]):
    """A Kafka topic and the type of its values; encodes and decodes JSON.

    Raises: `SchemaError` from `decode`, and nothing else.
    """

    name: str
    schema: str
    """Type name and version, as it stands in the `schema` header."""
    type: Any
    key: Callable[[V], str]
    partitions: int = PARTITIONS
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 7 * DAY_MS
    _encoder: msgspec.json.Encoder = field(init=False, repr=False, compare=False)
    _decoder: "msgspec.json.Decoder[Any]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_encoder", msgspec.json.Encoder())
        object.__setattr__(self, "_decoder", msgspec.json.Decoder(self.type))

    def encode(self, value: V) -> bytes:
        """The value as JSON."""
        return self._encoder.encode(value)

    def encode_all(self, values: Iterable[V]) -> list[bytes]:
        """Each value as JSON."""
        return list(map(self._encoder.encode, values))

    def decode(self, raw: bytes) -> V:
        """The JSON as a value; the error's message is msgspec's own: expected, found, at which path."""
        try:
            value: V = self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SchemaError(str(error)) from error
        return value

    def decode_all(self, raw: Sequence[bytes]) -> list[V]:
        """All values; raises for the first that is not one, and then gives none."""
        try:
            return list(map(self._decoder.decode, raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise SchemaError(str(error)) from error

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Kafka headers of every record: the type and version of its value."""
        return [(SCHEMA_HEADER, self.schema.encode())]


EVENTS: Topic[Any] = Topic("market.events.v1", "event.v1", Event, key=_key_of_event)
NEWS: Topic[NewsItem] = Topic(
    "news.items.v1", "news_item.v1", NewsItem, key=lambda item: item.item_id, retention_ms=30 * DAY_MS
)
BARS: Topic[Bar] = Topic("market.bars.v1", "bar.v1", Bar, key=lambda bar: bar.symbol)
PREDICTIONS: Topic[Prediction] = Topic(
    "signals.predictions.v1", "prediction.v1", Prediction, key=lambda row: row.symbol
)
OUTCOMES: Topic[Outcome] = Topic("signals.outcomes.v1", "outcome.v1", Outcome, key=lambda row: row.symbol)
ALERTS: Topic[Alert] = Topic("signals.alerts.v1", "alert.v1", Alert, key=lambda row: row.symbol)
DRIFT: Topic[Any] = Topic("signals.drift.v1", "drift.v1", DriftEvent, key=lambda event: getattr(event, "symbol", "*"))
DEAD_LETTERS: Topic[DeadLetter] = Topic(
    "dead.letters.v1", "dead_letter.v1", DeadLetter, key=lambda letter: letter.source, retention_ms=30 * DAY_MS
)
TOPICS: tuple[Topic[Any], ...] = (EVENTS, NEWS, BARS, PREDICTIONS, OUTCOMES, ALERTS, DRIFT, DEAD_LETTERS)

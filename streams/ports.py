"""What the streams need from the outside, in their own words; infra has the adapters, tests have lists."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from schemas.events import Event, NewsItem
from schemas.rows import DeadLetter, Latest
from schemas.topics import Topic
from streams.decode import Poll


class EventWriter(Protocol):
    """The events log. A record that the broker did not acknowledge raises `DeliveryError` at the next call."""

    def write(self, events: Sequence[Event]) -> None:
        """Append in order; events without a symbol go into every partition. Blocks while the broker is slow."""

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append to the dead letters."""

    def flush(self) -> None:
        """Return when everything written is acknowledged."""


class NewsWriter(Protocol):
    """The topic of raw news; acknowledgements as of `EventWriter`."""

    def write_news(self, items: Sequence[NewsItem]) -> None:
        """Append in order."""

    def flush(self) -> None:
        """Return when everything written is acknowledged."""


class Clock(Protocol):
    """The wall clock; only the edge asks for it."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Meter(Protocol):
    """Counts and timings that operators look at; names as in `infra.telemetry`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One duration for a histogram."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


class PartitionReader(Protocol):
    """One partition of the events log, read in order from where it was opened."""

    @property
    def next_offset(self) -> int:
        """Where reading goes on."""

    def ended(self) -> bool:
        """Whether this log is closed and all of it was polled."""

    def poll(self, most: int) -> Poll | None:
        """What has arrived, at most `most` records; None when nothing has. Never waits. `LogError` on a lost offset."""

    def lag(self) -> int:
        """Records that have arrived at the broker and were not polled; as the last answer of the broker said."""

    def close(self) -> None:
        """Stop reading."""


class Log(Protocol):
    """The events log."""

    @property
    def log_id(self) -> str:
        """Which log this is: offsets mean something only within it."""

    @property
    def partitions(self) -> Sequence[int]:
        """Those that this process reads."""

    def open(self, partition: int, offset: int | None) -> PartitionReader:
        """Read from `offset` on, or from the first record there is."""


class MessageWriter(Protocol):
    """The topics we write. A record that was not acknowledged raises `DeliveryError` at the next flush."""

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hand over (key, value) pairs in order."""

    def flush(self) -> None:
        """Return when everything sent is acknowledged."""


class TableStore(Protocol):
    """ClickHouse, as the sinks see it."""

    def high_waters(self, names: Sequence[str], partition: int) -> Mapping[str, int]:
        """By table: the highest stored source offset of this log's partition, -1 where it has none."""

    def insert(self, table: str, columns: Mapping[str, Any], token: str) -> None:
        """Store one block, all or nothing; the same token twice stores it once. `BackendError` when it gives up."""

    def give_up(self) -> None:
        """Let inserts that wait for ClickHouse fail instead; from any thread."""


class TradeHistory(Protocol):
    """What is stored of trades that set prices, of what was said of them since, and of time bars.

    Everything is of one partition of our log and made at offsets below `below`. In the lines that come back (dtypes of
    `processors.revision`) `row` is an index into `symbols`; so it is in what is asked for.
    """

    def numbered(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int]]
    ) -> NDArray[Any]:
        """TRADES with these (row, sequence number), in any order."""

    def spans(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, int, int]]
    ) -> tuple[NDArray[Any], NDArray[Any], Sequence[int]]:
        """TRADES stamped within (row, start, end), ns, and FIXES stamped no earlier; newest stamp of any fix by symbol, or -1."""

    def issued(
        self, partition: int, below: int, symbols: Sequence[str], wanted: Sequence[tuple[int, str, int]]
    ) -> NDArray[Any]:
        """The newest revision of each (row, name of the kind, start), as ISSUED with the position in `wanted` as `kind`."""


class LatestStore(Protocol):
    """The newest row of every symbol."""

    def write(self, rows: Sequence[Latest]) -> int:
        """Store every row that is newer than the stored one of its symbol; how many were. `StoreUnavailable`."""

    def rows(self) -> Sequence[Latest]:
        """Every stored row. `StoreUnavailable`."""

    def forgot(self) -> bool:
        """Whether the store has lost what it was told since the last call, or is asked for the first time. `StoreUnavailable`."""

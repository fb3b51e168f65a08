"""Stand-ins at the borders: models that are functions, and lists for what is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infra.native_format import encode_block
from processors.batch import NS, Column, Matrix
from processors.features import FEATURE_NAMES
from schemas.errors import StoreUnavailable
from schemas.rows import Latest
from schemas.tables import tables
from schemas.topics import Topic
from streams.decode import Poll
from tests.logs import START


@dataclass
class CountingLearner:
    """Scores with a weighted sum that every lesson moves: simple, and sensitive to when and what it learnt."""

    weight: float = 0.5
    steps: int = 0
    id: str = "counting"

    def score(self, features: Matrix) -> Column:
        known = np.where(np.isfinite(features), features, 0.0)
        return 1.0 / (1.0 + np.exp(-self.weight * (known[:, 0] + known[:, -1])))

    def learn(self, features: Matrix, labels: Column) -> None:
        known = np.where(np.isfinite(features), features, 0.0)
        self.weight += float(labels.mean() - 0.5) * 0.1 + float(known[0, 0])
        self.steps += 1

    def snapshot(self) -> bytes:
        return f"{self.weight!r} {self.steps}".encode()

    @classmethod
    def restored(cls, raw: bytes) -> "CountingLearner":
        weight, steps = raw.decode().split()
        return cls(float(weight), int(steps))


@dataclass
class ConstantModel:
    """Always the same score."""

    p: float = 0.6
    id: str = "constant"

    def score(self, features: Matrix) -> Column:
        return np.full(len(features), self.p)


@dataclass
class ListLog:
    """An events log in memory: partition to records; readers give `per_poll` records a poll, then nothing."""

    records: dict[int, list[bytes | None]]
    per_poll: int = 100
    log_id: str = "test-log"
    readers: "dict[int, ListReader]" = field(default_factory=dict)

    @property
    def partitions(self) -> list[int]:
        return sorted(self.records)

    def open(self, partition: int, offset: int | None) -> "ListReader":
        self.readers[partition] = ListReader(self, partition, offset or 0)
        return self.readers[partition]


@dataclass
class ListReader:
    log: ListLog
    partition: int
    at: int

    @property
    def next_offset(self) -> int:
        return self.at

    def ended(self) -> bool:
        return False

    def poll(self, most: int) -> Poll | None:
        values = self.log.records[self.partition][self.at : self.at + min(most, self.log.per_poll)]
        if not values:
            return None
        offsets = list(range(self.at, self.at + len(values)))
        self.at += len(values)
        return Poll(self.partition, values, offsets, [START // 1_000_000 + 10 * offset for offset in offsets])

    def lag(self) -> int:
        return len(self.log.records[self.partition]) - self.at

    def close(self) -> None:
        pass


@dataclass
class SteppingClock:
    """A clock that moves only when somebody sleeps."""

    now: int = START

    def now_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * NS)


@dataclass
class ListStore:
    """ClickHouse as lists of inserted blocks, encoded as they would be sent."""

    log_id: str = "test-log"
    inserts: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    stored: dict[tuple[str, int], int] = field(default_factory=dict)

    def high_waters(self, names: Sequence[str], partition: int) -> Mapping[str, int]:
        return {table: self.stored.get((table, partition), -1) for table in names}

    def insert(self, table: str, columns: Mapping[str, Any], token: str) -> None:
        declared = next(each for each in tables(FEATURE_NAMES) if each.name == table)
        encode_block(columns, declared.types)
        assert list(columns) == list(declared.types), table
        self.inserts.append((table, dict(columns), token))
        for partition, offset in zip(columns["src_partition"].tolist(), columns["src_offset"].tolist(), strict=True):
            self.stored[table, partition] = max(offset, self.stored.get((table, partition), -1))

    def give_up(self) -> None: ...

    def column(self, table: str, name: str) -> list[Any]:
        """All values of a column, in the order of the inserts."""
        values: list[Any] = []
        for inserted, columns, _ in self.inserts:
            if inserted == table:
                column = columns[name]
                values += [column[1][code] for code in column[0]] if isinstance(column, tuple) else list(column)
        return values


@dataclass
class ListWriter:
    """Topics as lists of (topic, partition, key, value)."""

    sent: list[tuple[str, int, str, bytes]] = field(default_factory=list)
    flushes: int = 0

    def send(self, topic: Topic[Any], partition: int, messages: Sequence[tuple[str, bytes]]) -> None:
        self.sent += [(topic.name, partition, key, value) for key, value in messages]

    def flush(self) -> None:
        self.flushes += 1

    def of(self, topic: Topic[Any]) -> list[Any]:
        """Decoded values of one topic."""
        return [topic.decode(value) for name, _, _, value in self.sent if name == topic.name]


@dataclass
class DictLatest:
    """The newest rows as a dict."""

    kept: dict[str, Latest] = field(default_factory=dict)
    away: bool = False
    """Whether every call fails."""
    told: bool = False
    calls: int = 0

    def write(self, rows: Sequence[Latest]) -> int:
        self._answer()
        self.kept |= {row.symbol: row for row in rows}
        return len(rows)

    def rows(self) -> list[Latest]:
        self._answer()
        return list(self.kept.values())

    def forgot(self) -> bool:
        self._answer()
        told, self.told = self.told, True
        return not told

    def lose(self) -> None:
        """What a flush does."""
        self.kept, self.told = {}, False

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("away")


class NoMeter:
    """Counts nothing."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

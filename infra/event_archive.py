"""A Parquet archive of the events log: raw records by partition and offset, for nights that ask for more than the topic keeps.

    DIRECTORY/p03/000000001000.parquet     named by its first offset; columns offset, ts_broker (ms), value (null: no value)

Which log it is stands in the metadata of every file; files may overlap.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.nightly.plan import replaced
from schemas.errors import InputError, LogError
from streams.archive import Archived
from streams.decode import Poll, decode

FILE_RECORDS: Final = 262_144
WINDOW: Final = 16_384
"""Records decoded at once."""
_LOG: Final = b"tickwire.log_id"
_SCHEMA: Final = pa.schema([("offset", pa.int64()), ("ts_broker", pa.int64()), ("value", pa.binary())])


@dataclass(frozen=True, slots=True)
class ParquetArchive:
    """`infra.nightly.reading.Archive` on files."""

    directory: Path
    log_id: str

    def first(self, partition: int) -> int | None:
        """Its first offset; None where it has nothing of this partition."""
        return min(self._firsts(partition), default=None)

    def end(self, partition: int) -> int | None:
        """The offset behind its last record."""
        firsts = self._firsts(partition)
        if not firsts:
            return None
        return max(int(self._table(partition, first)["offset"][-1].as_py()) + 1 for first in firsts[-2:])

    def read(self, partition: int, first: int, end: int) -> Iterator[Archived]:
        """The records `[first, end)`, and what is missing of them. `LogError` for another log, `InputError` for a torn file."""
        at, firsts = first, self._firsts(partition)
        while at < end:
            before = at
            for poll in self._polls(partition, self._reaching(partition, firsts, at), at, end):
                yield Archived(decode(poll), _holes(poll.offsets, at))
                at = poll.offsets[-1] + 1
            if at == before:
                break
        if at < end:
            yield Archived(decode(Poll(partition, [], [], [])), [(at, end)])

    def keep(self, partition: int, polls: Iterable[Poll]) -> int:
        """Write records, in files of `FILE_RECORDS`; how many."""
        waiting: list[Poll] = []
        count = 0
        for poll in polls:
            waiting.append(poll)
            if sum(len(each.offsets) for each in waiting) >= FILE_RECORDS:
                count += self._write(partition, waiting)
                waiting = []
        return count + (self._write(partition, waiting) if waiting else 0)

    def _write(self, partition: int, polls: Sequence[Poll]) -> int:
        columns: list[list[Any]] = [[], [], []]
        for poll in polls:
            for column, more in zip(columns, (poll.offsets, poll.ts_broker, poll.values), strict=True):
                column.extend(more)
        table = pa.Table.from_arrays(
            [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)],
            schema=_SCHEMA.with_metadata({_LOG: self.log_id.encode()}),
        )
        out = BytesIO()
        pq.write_table(table, out, compression="zstd", row_group_size=WINDOW)
        replaced(self._path(partition, columns[0][0]), out.getvalue())
        return len(columns[0])

    def _path(self, partition: int, first: int) -> Path:
        return self.directory / f"p{partition:02d}" / f"{first:012d}.parquet"

    def _firsts(self, partition: int) -> list[int]:
        if not self.directory.is_dir():
            raise InputError(f"{self.directory}: expected a Parquet archive of events, found no directory")
        return sorted(int(path.stem) for path in (self.directory / f"p{partition:02d}").glob("[0-9]*.parquet"))

    def _reaching(self, partition: int, firsts: Sequence[int], at: int) -> int | None:
        """The file to read from there on: the newest that begins no later and reaches behind it, else the next one."""
        behind = bisect_right(firsts, at)
        for first in reversed(firsts[:behind]):
            with self._opened(partition, first) as file:
                group = file.metadata.row_group(file.num_row_groups - 1)
                if group.column(0).statistics.max >= at:
                    return first
        return firsts[behind] if behind < len(firsts) else None

    @contextmanager
    def _opened(self, partition: int, first: int) -> Iterator[Any]:
        path = self._path(partition, first)
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                found = (schema.metadata or {}).get(_LOG, b"").decode()
                if found != self.log_id or schema.remove_metadata() != _SCHEMA:
                    raise LogError(f"{path}: expected records of log {self.log_id}, found those of {found or 'no log'}")
                yield file
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: expected archived events, found what cannot be read ({error})") from error

    def _table(self, partition: int, first: int) -> Any:
        with self._opened(partition, first) as file:
            return file.read()

    def _polls(self, partition: int, first: int | None, at: int, end: int) -> Iterator[Poll]:
        if first is None:
            return
        table = self._table(partition, first)
        offsets = table["offset"].to_numpy()
        start, stop = np.searchsorted(offsets, [at, end]).tolist()
        for begin in range(start, stop, WINDOW):
            part = table.slice(begin, min(WINDOW, stop - begin))
            yield Poll(partition, *(part[name].to_pylist() for name in ("value", "offset", "ts_broker")))


def _holes(offsets: Sequence[int], at: int) -> list[tuple[int, int]]:
    found = np.asarray(offsets, np.int64)
    before = np.concatenate([[at - 1], found[:-1]])
    return [(int(before[i]) + 1, int(found[i])) for i in np.flatnonzero(found - before != 1)]

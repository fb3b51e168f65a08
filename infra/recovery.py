"""The recovery directory of a scoring process: where its state lies between two runs, and whether it can be trusted.

Bytewax pickles what it stores, so whoever can write there can run code as us: the directory belongs to us alone, and its
snapshots are looked at here, without unpickling anything but bytes, before Bytewax loads them.
"""

import io
import os
import pickle
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
from bytewax.recovery import init_db_dir

from infra.private import OWNER_ALONE, private_folder
from infra.seeds import Seed, read_seed, sync_directory
from schemas.errors import DiskError, RecoveryError, TickwireError

State: TypeAlias = Literal["ready", "missing", "changed", "new"]
PART: Final = "part-0.sqlite3"
FULL: Final = "a full disk"
FAILING: Final = "a disk that fails"
MEND: Final = "nothing is lost: make room, or mend the disk, and start again"
NEWEST: Final = """
SELECT state_key, ser_change FROM snaps WHERE step_id LIKE ? ESCAPE '\\'
AND snap_epoch = (SELECT max(snap_epoch) FROM snaps AS newer WHERE newer.step_id = snaps.step_id
                  AND newer.state_key = snaps.state_key)
"""


class Record(msgspec.Struct, frozen=True):
    """Which state a group went on from last; beside the directories, so that it outlives them."""

    log_id: str
    step: str
    features_id: str


@dataclass(frozen=True, slots=True)
class RecoveryStore:
    """State of one log and one computation of a group; another one lies in another directory."""

    root: Path
    group: str
    log_id: str
    step: str
    features_id: str

    @property
    def path(self) -> Path:
        """Where Bytewax keeps it."""
        return self.root / f"{self.group}-{self.log_id}-{self.step}"

    @property
    def _record(self) -> Path:
        return self.root / f"{self.group}.json"

    @property
    def _old(self) -> Path:
        """Where `replace` keeps it for a moment."""
        return self.path.with_name(f"{self.path.name}.old")

    def state(self, stored: Callable[[], set[str]]) -> State:
        """What is there: usable state, none though there must be, that of another computation, or no history at all.

        State of this computation that another one has gone on from since is as good as none.

        stored: the feature ids of the rows that this log's partitions have in ClickHouse, asked where it matters.
        """
        last = self._last()
        if self.path.exists():
            stale = last is not None and last.log_id == self.log_id and last.step != self.step
            return "changed" if stale else "ready"
        if last is not None and (last.log_id, last.step) == (self.log_id, self.step):
            return "missing" if stored() else "new"
        found = stored()
        if not found:
            return "new"
        other = last is not None and last.log_id == self.log_id
        return "changed" if other or self.features_id not in found else "missing"

    def missing(self) -> RecoveryError:
        """What to say where rows of this log are stored and the state that made them is gone."""
        return RecoveryError(self.path, "nothing, though rows of this log are stored")

    def make(self) -> Path:
        """An empty store, and the record of it."""
        fresh_directory(self.path)
        init_db_dir(self.path, 1)
        self.note()
        return self.path

    def note(self) -> None:
        """Remember that this state is the one that the group goes on from."""
        draft = self._record.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(Record(self.log_id, self.step, self.features_id)))
        draft.replace(self._record)
        sync_directory(self.root)

    def check(self, restore: Callable[[bytes], object]) -> None:
        """Raise `RecoveryError` unless everything in it can be gone on from; `restore` makes a shard of a snapshot.

        `DiskError` where it is the disk that cannot be read.
        """
        check_owner(self.root)
        check_owner(self.path)
        part = self.path / PART
        if not part.exists():
            raise RecoveryError(part, "no such file")
        try:
            for key, raw in self._snapshots(part):
                _check_snapshot(part, key, raw, restore)
        except sqlite3.Error as error:
            if found := _of_the_disk(error):
                raise DiskError(part, f"{found} ({error})", MEND) from error
            raise RecoveryError(part, f"a SQLite file that is damaged ({error})") from error
        for partition, seed in self.seeds().items():
            if seed.snapshot:
                _check_state(self.path / f"seed-{partition:05d}", restore, seed.snapshot)

    def seeds(self) -> Mapping[int, Seed]:
        """What a rebuild has left, by partition; `RecoveryError` for a torn or foreign one."""
        found = sorted(self.path.glob("seed-[0-9][0-9][0-9][0-9][0-9]"))
        return {int(path.name[-5:]): read_seed(path, self.log_id, self.step) for path in found}

    def replace(self, fill: Callable[[Path], None]) -> None:
        """Put a new store, with what `fill` writes beside Bytewax's file, in the place of this one.

        The old one stays until the new one is whole: a rebuild that is killed leaves it as it was (`put_back`).
        """
        building, old = self.path.with_name(f"{self.path.name}.building"), self._old
        for leftover in (building, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        fresh_directory(building)
        init_db_dir(building, 1)
        fill(building)
        if self.path.exists():
            self.path.rename(old)
        building.rename(self.path)
        self.note()
        if old.exists():
            shutil.rmtree(old)

    def put_back(self) -> None:
        """Have the former store again where a kill came between `replace` moving it aside and the new one into its place."""
        if self._old.exists() and not self.path.exists():
            self._old.rename(self.path)

    def _last(self) -> Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise RecoveryError(self._record, f"something else ({error})") from error

    def _snapshots(self, part: Path) -> Iterator[tuple[str, bytes]]:
        with closing(sqlite3.connect(part)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise RecoveryError(part, f"a SQLite file that is damaged ({verdict})")
            for key, raw in database.execute(NEWEST, (f"scoring.advance\\_{self.step}%",)):
                if raw is not None:
                    yield key, raw


@contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """`DiskError` for what became of the disk under the store, where Bytewax ends with SQLite's words alone."""
    try:
        yield
    except RuntimeError as error:
        if "SqliteFailure" not in str(error):
            raise
        raise DiskError(path, f"{FULL if 'DiskFull' in str(error) else FAILING} ({error})", MEND) from error


def request_path(data: Path, group: str = "0") -> Path:
    """A file that asks the group's next start for a rebuild, however often it takes until that is done."""
    return data / "recovery" / f"{group}.rebuild"


def ask_for_rebuild(data: Path, group: str = "0") -> None:
    """Have the group's next start rebuild its state."""
    path = request_path(data, group)
    private_folder(path.parent)
    path.touch()


def fresh_directory(path: Path) -> None:
    """A new directory that nobody else may look into."""
    private_folder(path.parent)
    path.mkdir(mode=OWNER_ALONE)


def check_owner(path: Path) -> None:
    """Raise `RecoveryError` unless the directory is ours alone: what is in it is loaded as code."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise RecoveryError(path, "something that is no directory", "move it away")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise RecoveryError(
            path,
            f"a directory of user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}",
            f"only user {os.geteuid()} may write there, since what is in it is loaded as code: make sure nobody has, then "
            f"`chown {os.geteuid()}` and `chmod 700` it, or run `tickwire rebuild`",
        )


class _BytesOnly(pickle.Unpickler):
    """Bytes need no class; whatever else is in a snapshot is not ours."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it would run {module}.{name}")


def _check_snapshot(part: Path, key: str, raw: bytes, restore: Callable[[bytes], object]) -> None:
    where = f"{part}, partition {key}"
    try:
        snapshot = _BytesOnly(io.BytesIO(raw)).load()
    except Exception as error:  # unpickling torn bytes raises nearly anything
        raise RecoveryError(where, f"a snapshot that cannot be read ({error})") from error
    if not isinstance(snapshot, bytes):
        raise RecoveryError(where, f"a snapshot that is {type(snapshot).__name__}, not bytes")
    if snapshot:
        _check_state(where, restore, snapshot)


def _check_state(where: object, restore: Callable[[bytes], object], snapshot: bytes) -> None:
    try:
        restore(snapshot)
    except (TickwireError, msgspec.DecodeError, ValueError) as error:
        raise RecoveryError(where, f"a snapshot that cannot be gone on from ({error})") from error


def _of_the_disk(error: sqlite3.Error) -> str:
    """What is wrong with the disk; empty where it is the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details of an I/O error
    return {sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_IOERR: FAILING}.get(code, "")

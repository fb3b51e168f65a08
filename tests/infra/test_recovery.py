"""What a scoring process left is looked at before it goes on from it, and refused by name where it cannot be trusted."""

import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig

from infra.composition import ShardMaker
from infra.recovery import PART, RecoveryStore, ask_for_rebuild, request_path
from infra.seeds import header_of, read_seed, write_seed
from models import online
from models.online import OnlineModel
from processors.features import FEATURE_NAMES
from processors.sessions import Sessions
from processors.shard import FoldRules
from processors.snapshot import Remembered, decode_snapshot, encode_snapshot
from schemas.errors import RecoveryError
from schemas.events import Event
from schemas.topics import EVENTS
from streams.bytewax_io import EventSource
from streams.flow import Sinks, build
from tests.fakes import ListLog, NoMeter, SteppingClock
from tests.logs import market
from tests.streams.test_flow import Run

MAKE = ShardMaker(FoldRules(), Sessions(), None)
LOG, STEP = "log-1", "feedc0ffee12"


def store(root: Path, *, log_id: str = LOG, step: str = STEP, features_id: str = "f1") -> RecoveryStore:
    return RecoveryStore(root / "recovery", "0", log_id, step, features_id)


def check(found: RecoveryStore) -> None:
    found.check(lambda snapshot: MAKE(0, snapshot))


@pytest.fixture
def left(tmp_path: Path) -> RecoveryStore:
    """What a run of the real flow left, with the real learner."""
    found = store(tmp_path)
    found.make()
    run = Run(ListLog({0: [EVENTS.encode(event) for event in market(1500)]}))
    source = EventSource(run.log, SteppingClock(), run._stored, run.newest.tend, NoMeter())
    flow = build(source, MAKE, Sinks(run.sinks.topics, run.sinks.latest, run.sinks.tables), STEP, NoMeter())
    run_main(flow, epoch_interval=timedelta(milliseconds=20), recovery_config=RecoveryConfig(str(found.path)))
    return found


def change_snapshot(found: RecoveryStore, change: Callable[[bytes], object]) -> None:
    """Put another object where Bytewax keeps the newest snapshot of the shard."""
    with closing(sqlite3.connect(found.path / PART)) as database, database:
        rows = database.execute("SELECT rowid, ser_change FROM snaps WHERE step_id LIKE '%advance%'").fetchall()
        assert rows
        for row, raw in rows:
            changed = change(pickle.loads(raw))
            database.execute(
                "UPDATE snaps SET ser_change = ? WHERE rowid = ?",
                (changed if isinstance(changed, bytes) and changed[:1] == b"!" else pickle.dumps(changed), row),
            )


def with_learner(learner: bytes) -> Callable[[bytes], bytes]:
    def change(snapshot: bytes) -> bytes:
        remembered = decode_snapshot(snapshot)
        return encode_snapshot(
            Remembered(**{**{n: getattr(remembered, n) for n in remembered.__struct_fields__}, "learner": learner})
        )

    return change


def test_what_a_run_left_is_gone_on_from(left: RecoveryStore) -> None:
    check(left)
    assert left.state(lambda: {"f1"}) == "ready"
    assert left.path.stat().st_mode & 0o777 == 0o700


def test_a_missing_partition_file_is_named_with_what_to_do(left: RecoveryStore) -> None:
    (left.path / PART).unlink()
    with pytest.raises(RecoveryError, match=rf"{PART}: expected .* found no such file; run `tickwire rebuild`"):
        check(left)


@pytest.mark.parametrize("at", [0, 16, 5_000])
def test_a_damaged_sqlite_file_is_refused(left: RecoveryStore, at: int) -> None:
    with closing(sqlite3.connect(left.path / PART)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (left.path / PART).open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 4096)
    with pytest.raises(RecoveryError, match="damaged"):
        check(left)


def test_a_file_cut_to_half_is_refused(left: RecoveryStore) -> None:
    with closing(sqlite3.connect(left.path / PART)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(left.path / PART, (left.path / PART).stat().st_size // 2)
    with pytest.raises(RecoveryError, match="damaged"):
        check(left)


def test_a_torn_state_of_river_is_refused_by_name(left: RecoveryStore) -> None:
    whole = OnlineModel(FEATURE_NAMES).snapshot()
    for torn in (whole[:-7], whole[:5], b"", whole[:40] + b"\x00" + whole[41:]):
        change_snapshot(left, with_learner(torn))
        with pytest.raises(RecoveryError, match=r"partition 00000: .*torn or altered.*tickwire rebuild"):
            check(left)


def test_a_state_by_another_version_of_river_is_refused_by_name(
    left: RecoveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(online, "RIVER", "0.1.0")
        older = OnlineModel(FEATURE_NAMES).snapshot()
    change_snapshot(left, with_learner(older))
    with pytest.raises(RecoveryError, match=r"River 0\.1\.0.*tickwire rebuild"):
        check(left)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda snapshot: snapshot[: len(snapshot) // 2], "cannot be gone on from"),
        (lambda _: b"!not a pickle", "cannot be read"),
        (lambda _: Path("x"), "it would run"),
        (lambda _: 7, "is int, not bytes"),
        (lambda snapshot: encode_snapshot(Remembered([], [], [], b"", [], [], [])), "cannot be gone on from"),
    ],
)
def test_a_snapshot_that_is_none_of_ours_is_refused_and_not_run(
    left: RecoveryStore, change: Callable[[bytes], object], found: str
) -> None:
    change_snapshot(left, change)
    with pytest.raises(RecoveryError, match=found):
        check(left)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702])
def test_a_directory_that_others_may_use_is_refused(left: RecoveryStore, mode: int) -> None:
    left.path.chmod(mode)
    with pytest.raises(RecoveryError, match=f"mode {mode:04o}; only user {os.geteuid()} may"):
        check(left)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_directory_of_somebody_else_is_refused(left: RecoveryStore) -> None:
    os.chown(left.path, 65_534, -1)
    with pytest.raises(RecoveryError, match="a directory of user 65534"):
        check(left)


def test_missing_changed_and_new_are_told_apart(tmp_path: Path) -> None:
    def stored() -> set[str]:
        return {"f1"}

    assert store(tmp_path).state(set) == "new"  # nothing was ever stored: a new deployment
    store(tmp_path).make()
    assert store(tmp_path).state(stored) == "ready"
    assert store(tmp_path, step="other").state(stored) == "changed"
    assert store(tmp_path, log_id="other").state(set) == "new"
    shutil.rmtree(store(tmp_path).path)
    assert store(tmp_path).state(stored) == "missing"
    shutil.rmtree(tmp_path / "recovery")
    assert store(tmp_path).state(stored) == "missing"  # the record is gone too, but the rows have our features
    assert store(tmp_path, features_id="f2").state(stored) == "changed"


def test_state_that_another_computation_has_gone_on_from_is_not_gone_back_to(tmp_path: Path) -> None:
    store(tmp_path).make()
    store(tmp_path, step="other").make()
    assert store(tmp_path).state(lambda: {"f1"}) == "changed"


def test_a_request_for_a_rebuild_stays_until_it_is_done(tmp_path: Path) -> None:
    ask_for_rebuild(tmp_path)
    ask_for_rebuild(tmp_path)
    assert request_path(tmp_path).exists()
    assert (tmp_path / "recovery").stat().st_mode & 0o777 == 0o700


def seed(directory: Path, snapshot: bytes = b"state", partition: int = 3) -> Path:
    return write_seed(directory, header_of(LOG, STEP, "f1", (partition, 77), snapshot), snapshot)


def test_a_seed_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read_seed(seed(tmp_path), LOG, STEP)
    assert (found.next_offset, found.snapshot) == (77, b"state")
    assert [path.name for path in tmp_path.iterdir()] == ["seed-00003"]
    assert (tmp_path / "seed-00003").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [0, 3, 16, 18, 40, -1])
def test_a_torn_seed_is_refused(tmp_path: Path, cut: int) -> None:
    path = seed(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RecoveryError, match=r"seed-00003: .*tickwire rebuild"):
        read_seed(path, LOG, STEP)


def test_a_flipped_bit_in_a_seed_is_refused(tmp_path: Path) -> None:
    path = seed(tmp_path, snapshot=bytes(1000))
    raw = bytearray(path.read_bytes())
    raw[-500] ^= 1
    path.write_bytes(raw)
    with pytest.raises(RecoveryError, match="torn or altered"):
        read_seed(path, LOG, STEP)


def test_a_seed_of_another_log_step_or_partition_is_refused(tmp_path: Path) -> None:
    path = seed(tmp_path)
    with pytest.raises(RecoveryError, match=f"of log {LOG} and step {STEP}, not of other"):
        read_seed(path, "other", STEP)
    with pytest.raises(RecoveryError, match=f"not of {LOG} and other"):
        read_seed(path, LOG, "other")
    with pytest.raises(RecoveryError, match="the seed of partition 3"):
        read_seed(path.rename(tmp_path / "seed-00004"), LOG, STEP)


def test_a_new_store_takes_the_old_ones_place_only_when_it_is_whole(left: RecoveryStore) -> None:
    before = {path.name: path.read_bytes() for path in left.path.iterdir()}

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        left.replace(killed)
    assert {path.name: path.read_bytes() for path in left.path.iterdir()} == before
    events: list[Event] = market(600)
    snapshot = folded_state(events)
    left.replace(lambda path: write_seed(path, header_of(LOG, STEP, "f1", (0, len(events)), snapshot), snapshot))
    check(left)
    assert left.seeds()[0].next_offset == len(events)
    assert left.seeds()[0].snapshot == snapshot
    assert sorted(path.name for path in left.root.iterdir() if path.is_dir()) == [left.path.name]


def folded_state(events: list[Event]) -> bytes:
    from tests.logs import stretch  # noqa: PLC0415

    shard = MAKE(0)
    shard.advance(stretch(events))
    return shard.snapshot()


def test_a_flow_goes_on_from_a_seed_bit_for_bit(tmp_path: Path) -> None:
    records = [EVENTS.encode(event) for event in market(2000)]
    log = ListLog({0: records})
    shard = MAKE(0)
    reader, at = log.open(0, 0), 0
    from streams.decode import decode  # noqa: PLC0415

    while at < 900:
        poll = reader.poll(100)
        assert poll is not None
        shard.advance(decode(poll))
        at = poll.offsets[-1] + 1
    seeded = ShardMaker(FoldRules(), Sessions(), None, {0: shard.snapshot()})
    whole = Run(ListLog({0: records}))
    whole.make = MAKE
    whole.go(tmp_path / "whole")
    after = Run(StartsAt({0: records}, start=900))
    after.make = seeded
    after.go(tmp_path / "after")
    expected = np.array(whole.store.column("features", "src_offset")) >= 900
    for table, column in (("features", FEATURE_NAMES[3]), ("predictions", "online")):
        ours, theirs = np.array(after.store.column(table, column)), np.array(whole.store.column(table, column))
        assert ours.tobytes() == theirs[expected].tobytes()


class StartsAt(ListLog):
    """Begins where a seed ends."""

    def __init__(self, records: dict[int, list[bytes]], start: int) -> None:
        super().__init__(dict(records))  # type: ignore[arg-type]
        self._start = start

    def open(self, partition: int, offset: int | None):  # type: ignore[no-untyped-def]
        return super().open(partition, self._start if offset is None else offset)

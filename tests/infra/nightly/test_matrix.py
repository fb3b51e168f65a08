"""A finished matrix as a dataset, and the directory in which it is made."""

import errno
from pathlib import Path

import numpy as np
import pytest

from infra.nightly.matrix import load
from infra.nightly.matrix_store import PartitionPieces, open_directory
from infra.nightly.plan import MANIFEST, PLAN
from processors.features import FEATURE_NAMES
from schemas.errors import InputError, RecoveryError
from tests.infra.matrices import plan, rows, written

PIECES = [rows(0, 0), rows(1, 0), rows(0, 1, n=0), rows(1, 1)]


def test_a_dataset_has_every_row_in_order_of_time_partition_and_offset(tmp_path: Path) -> None:
    written(tmp_path / "m", PIECES)
    dataset = load(tmp_path / "m")
    oracle = sorted(
        (int(piece.ts[i]), piece.partition, int(piece.offset[i]), piece.symbol[i], piece.label[i], tuple(piece.price[i]),
         piece.features[i].tobytes())
        for piece in PIECES
        for i in range(len(piece))
    )  # fmt: skip
    assert len({ts for ts, *_ in oracle}) < len(oracle)
    assert dataset.ts.tolist() == [row[0] for row in oracle]
    assert [dataset.symbols[code] for code in dataset.symbol] == [row[3] for row in oracle]
    assert dataset.label.tolist() == [row[4] for row in oracle]
    np.testing.assert_allclose(dataset.returns, [np.log(row[5][1] / row[5][0]) for row in oracle], rtol=0, atol=1e-15)
    assert [row.tobytes() for row in dataset.features] == [row[6] for row in oracle]
    assert tuple(dataset.names) == FEATURE_NAMES


def test_the_features_are_mapped_from_disk_and_sorted_once(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m", PIECES)
    first = load(tmp_path / "m")
    path = tmp_path / "m" / "sorted" / f"{manifest.id}.npy"
    made = path.stat().st_mtime_ns
    again = load(tmp_path / "m")
    assert isinstance(again.features, np.memmap)
    assert path.stat().st_mtime_ns == made
    np.testing.assert_array_equal(first.features, again.features)


def test_a_matrix_without_rows_is_an_empty_dataset(tmp_path: Path) -> None:
    written(tmp_path / "m", [rows(0, 0, n=0)])
    assert len(load(tmp_path / "m")) == 0


def test_a_piece_that_was_altered_is_refused_by_name(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m", PIECES)
    path = tmp_path / "m" / manifest.pieces[0].file
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=path.name):
        load(tmp_path / "m")


def test_a_matrix_that_is_not_finished_is_no_dataset(tmp_path: Path) -> None:
    written(tmp_path / "m", PIECES)
    (tmp_path / "m" / MANIFEST).unlink()
    with pytest.raises(InputError, match="expected a finished matrix"):
        load(tmp_path / "m")


def test_a_directory_holds_one_plan_and_refuses_another(tmp_path: Path) -> None:
    open_directory(tmp_path / "m", plan())
    open_directory(tmp_path / "m", plan())
    with pytest.raises(InputError, match="another plan"):
        open_directory(tmp_path / "m", plan(symbols=["A"]))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match="found files without"):
        open_directory(tmp_path / "other", plan())


def test_a_write_that_fails_leaves_nothing_and_the_directory_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("infra.nightly.plan.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            open_directory(tmp_path / "m", plan())
    assert list((tmp_path / "m").iterdir()) == []
    open_directory(tmp_path / "m", plan())


def test_what_a_killed_process_left_of_its_writing_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / f".{PLAN}.17.new").write_bytes(b"{")
    open_directory(tmp_path / "m", plan())
    (tmp_path / "m" / "pieces").mkdir()
    (tmp_path / "m" / "pieces" / ".p00-000000.parquet.17.new").write_bytes(b"PAR1")
    open_directory(tmp_path / "m", plan())
    assert [path.name for path in (tmp_path / "m").rglob("*") if path.is_file()] == [PLAN]


def test_drafts_of_others_stay_where_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".thesis.txt.new").write_text("do not touch")
    with pytest.raises(InputError, match="found files without"):
        open_directory(tmp_path, plan())
    assert (tmp_path / ".thesis.txt.new").exists()


def test_state_that_is_torn_or_a_known_piece_that_is_gone_is_refused(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m", [rows(0, 0)])
    store = PartitionPieces(tmp_path / "m", 0, manifest.plan, manifest.id)
    assert store.reached() is not None
    (tmp_path / "m" / manifest.pieces[0].file).unlink()
    with pytest.raises(RecoveryError, match="p00-000000"):
        store.reached()
    state = tmp_path / "m" / "state" / "p00"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(RecoveryError, match="torn or altered"):
        store.reached()


def test_the_plan_has_another_id_when_anything_in_it_changes() -> None:
    ids = [plan().id, plan(symbols=["A"]).id, plan(warm_start=True).id, plan(partitions=2).id, plan(pieces=3).id]
    assert len(set(ids)) == len(ids)
    assert plan().id == plan().id

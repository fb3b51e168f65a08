"""Pieces of a matrix as Parquet."""

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from streams.matrix_files import ABOUT, encoded, read_piece
from streams.nightly import MatrixRows

NAMES = ("spread", "rsi_14m")
ROWS = MatrixRows(
    partition=3,
    offset=np.array([5, 9, 11], np.int64),
    symbol=np.array(["A", "BRK.B", "A"], object),
    ts=np.array([1, 2, 2**62], np.int64),
    price=np.array([[10.0, 11.0], [2.0, 2.0], [4.0, 1.0]]),
    label=np.array([1.0, 0.5, 0.0]),
    features=np.array([[0.1, np.nan], [-0.0, 5e-324], [np.nan, 1e300]]),
)


def test_what_is_read_is_what_was_written_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "x=1.parquet"
    path.write_bytes(encoded(ROWS, NAMES, 10))
    table = read_piece(path)
    assert table.column_names == [*ABOUT, *NAMES]
    assert table["partition"].to_pylist() == [3, 3, 3]
    assert table["offset"].to_pylist() == [5, 9, 11]
    assert table["symbol"].to_pylist() == ["A", "BRK.B", "A"]
    assert table["ts_event"].to_pylist() == [1, 2, 2**62]
    assert table["ts_matured"].to_pylist() == [11, 12, 2**62 + 10]
    assert table["horizon_ns"].to_pylist() == [10, 10, 10]
    assert table["label"].to_pylist() == [1.0, 0.5, 0.0]
    assert table["log_return"].to_pylist() == pytest.approx([0.0953101798, 0.0, -1.3862943611])
    for at, name in enumerate(NAMES):
        found = table[name].to_numpy()
        assert found.tobytes() == np.ascontiguousarray(ROWS.features[:, at]).tobytes()


def test_the_same_rows_give_the_same_bytes() -> None:
    assert encoded(ROWS, NAMES, 10) == encoded(ROWS, NAMES, 10)
    assert encoded(ROWS, NAMES, 10) != encoded(ROWS, NAMES, 11)


def test_some_columns_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "piece.parquet"
    path.write_bytes(encoded(ROWS, NAMES, 10))
    assert read_piece(path, ["rsi_14m", "offset"]).column_names == ["rsi_14m", "offset"]


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_what_is_no_piece_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "piece.parquet"
    if damage == "short":
        path.write_bytes(encoded(ROWS, NAMES, 10)[:-20])
    elif damage == "other":
        path.write_bytes(b"not Parquet at all, by any means")
    with pytest.raises(InputError, match=r"piece\.parquet: expected a piece of a matrix"):
        read_piece(path)

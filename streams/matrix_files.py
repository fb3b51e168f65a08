"""A training matrix as Parquet: what its columns are, and the bytes of a piece."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from streams.nightly import MatrixRows

ROW_GROUP: Final = 65_536
"""Rows that a reader must hold at least."""
ABOUT: Final[Mapping[str, Any]] = {
    "partition": pa.int32(), "offset": pa.int64(), "symbol": pa.string(), "ts_event": pa.int64(), "ts_matured": pa.int64(),
    "horizon_ns": pa.int64(), "price": pa.float64(), "price_matured": pa.float64(), "log_return": pa.float64(),
    "label": pa.float64(),
}  # fmt: skip
"""Columns before the features: where a prediction was made, of what, when; ns; what came true."""


def schema(features: Sequence[str]) -> Any:
    """Arrow's schema of a matrix with these features."""
    return pa.schema([*ABOUT.items(), *((name, pa.float64()) for name in features)])


def encoded(rows: MatrixRows, features: Sequence[str], horizon_ns: int) -> bytes:
    """A piece as a Parquet file; the same rows give the same bytes under the same version of pyarrow."""
    n = len(rows)
    before, after = rows.price[:, 0], rows.price[:, 1]
    columns: dict[str, Any] = {
        "partition": np.full(n, rows.partition, np.int32),
        "offset": rows.offset,
        "symbol": rows.symbol,
        "ts_event": rows.ts,
        "ts_matured": rows.ts + horizon_ns,
        "horizon_ns": np.full(n, horizon_ns, np.int64),
        "price": before,
        "price_matured": after,
        "log_return": np.log(after / before),
        "label": rows.label,
        **dict(zip(features, rows.features.T, strict=True)),
    }
    declared = schema(features)
    arrays = [pa.array(columns[name], kind) for name, kind in zip(declared.names, declared.types, strict=True)]
    out = BytesIO()
    table = pa.Table.from_arrays(arrays, schema=declared)
    pq.write_table(
        table, out, compression="zstd", row_group_size=ROW_GROUP, use_dictionary=["partition", "symbol", "horizon_ns"]
    )
    return out.getvalue()


def read_piece(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A piece (some of its columns) as an Arrow table. `InputError` where it is no Parquet file or lacks a column."""
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected a piece of a matrix, found what cannot be read ({error}); throw the directory away and run "
            "`tickwire nightly` again"
        ) from error

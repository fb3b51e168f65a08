"""Answers as files, cut to a number of rows."""

import io
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from api.media import FileKind
from api.sql.ports import SqlFile

_QUOTE: Final = b'"'


def cut_csv(text: bytes, limit: int) -> SqlFile:
    """CSV with a line of names, of which at most `limit` rows are kept.

    >>> cut_csv(b'"a"\\n1\\n"x\\ny"\\n', 1)
    SqlFile(body=b'"a"\\n1\\n', rows=1, cut=True)
    """
    records = _records(text)
    kept = records[: limit + 1]
    return SqlFile(b"".join(kept), max(0, len(kept) - 1), cut=len(records) > len(kept))


def _records(text: bytes) -> list[bytes]:
    """Lines, put together where a quoted text goes over their end: until then its quotes are odd in number."""
    records: list[bytes] = []
    open_parts: list[bytes] = []
    quotes = 0
    for line in text.splitlines(keepends=True):
        open_parts.append(line)
        quotes += line.count(_QUOTE)
        if quotes % 2 == 0:
            records.append(b"".join(open_parts))
            open_parts = []
    return records


def cut_arrow(stream: bytes, limit: int, kind: FileKind) -> SqlFile:
    """An Arrow stream as such, or as Parquet, of which at most `limit` rows are kept."""
    table = pa.ipc.open_stream(stream).read_all()
    kept = table.slice(0, limit)
    return SqlFile(written(kept, kind), kept.num_rows, cut=table.num_rows > limit)


def written(table: pa.Table, kind: FileKind) -> bytes:
    """The whole table as a file; CSV has a line of names, and quotes only where they are needed."""
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, out)
    elif kind == "csv":
        csv.write_csv(table, out, csv.WriteOptions(quoting_style="needed"))
    else:
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()

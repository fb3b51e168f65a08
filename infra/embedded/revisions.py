"""Native blocks as clients of the native protocol's newer revisions want them over HTTP (`client_protocol_version`).

The engine writes revision 0. From 54454 on a block begins with its info, and each column says, behind its type, whether it is
serialized in some special way. clickhouse-go, and so Grafana, reads nothing else.
"""

from io import BytesIO
from typing import Final

from infra.embedded.answers import NOT_IMPLEMENTED, EngineError
from infra.native_reader import read_column, read_text, read_varint
from schemas.errors import DatabaseError

CUSTOM_SERIALIZATION: Final = 54454
"""The first revision with that byte in each column; clients of older ones understand revision 0 as well."""
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""No overflow rows, no bucket."""
_ORDINARY: Final = b"\x00"


def newer_blocks(raw: bytes) -> bytes:
    """Whole blocks of revision 0, written as revision 54454 and later has them.

    EngineError for a column whose end cannot be found (types as JSON, Dynamic and AggregateFunction).
    """
    stream, out, taken = BytesIO(raw), bytearray(), 0

    def take() -> bytes:
        nonlocal taken
        begun, taken = taken, stream.tell()
        return raw[begun:taken]

    try:
        while taken < len(raw):
            columns, rows = read_varint(stream), read_varint(stream)
            out += _BLOCK_INFO + take()
            for _ in range(columns):
                name, type_ = str(read_text(stream)), str(read_text(stream))
                out += take() + _ORDINARY
                if rows:
                    read_column(stream, name, type_, rows)
                    out += take()
    except DatabaseError as error:
        raise EngineError(NOT_IMPLEMENTED, str(error)) from error
    return bytes(out)

"""`--from` and `--to` as people write them: an offset, `P:O` pairs, a time, or nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.errors import InputError

PAIRS: Final = re.compile(r"\d+:\d+(,\d+:\d+)*")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a stretch of the log; at most one of the three is given."""

    everywhere: int | None = None
    """The same offset in every partition."""
    by_partition: Mapping[int, int] | None = None
    """Offset of each named partition; the others are left out of the stretch."""
    at_ms: int | None = None
    """The broker's time, milliseconds since the Unix epoch."""


def bound(text: str, option: str) -> Bound:
    """What `option` was given; `InputError` where it is none of these. A time without a zone is UTC."""
    text = text.strip()
    if not text:
        return Bound()
    if text.isdecimal():
        return Bound(everywhere=int(text))
    if PAIRS.fullmatch(text):
        pairs = (pair.split(":") for pair in text.split(","))
        return Bound(by_partition={int(partition): int(offset) for partition, offset in pairs})
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{option}: expected an offset such as 1000, partitions with offsets such as 0:1000,3:500, or a time such as "
            f"2026-11-22T14:30:00Z, was {text!r}"
        ) from error
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return Bound(at_ms=round(at.timestamp() * 1000))

"""Where the next page begins, as an opaque text that is safe in a URL."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from schemas.events import MAX_NS

Place: TypeAlias = tuple[int | str, ...]
"""A row's time in ns, then what tells it from others of that time."""
LONGEST: Final = 200
"""Characters of a text within a place."""
MOST: Final = 2**63 - 1


def to_cursor(place: Place) -> str:
    """A cursor behind the row of this place.

    >>> from_cursor(to_cursor((1_381_152_600_000_000_000, "sim-1")), (int, str))
    (1381152600000000000, 'sim-1')
    """
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def from_cursor(text: str, parts: Sequence[type]) -> Place:
    """The place behind which the page begins; `parts`: int or str. Raises: `ValueError` for what `to_cursor` did not make."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place = msgspec.json.decode(raw, type=list[int | str])
    except (ValueError, msgspec.DecodeError) as error:
        raise _unknown(text) from error
    if (
        [type(part) for part in place] != list(parts)
        or not all(map(_possible, place))
        or not 0 <= int(place[0]) <= MAX_NS
    ):
        raise _unknown(text)
    return tuple(place)


def number_of(text: str) -> int:
    """The place of rows that one number tells apart. Raises: `ValueError`."""
    return int(from_cursor(text, (int,))[0])


def _possible(part: int | str) -> bool:
    return 0 <= part <= MOST if isinstance(part, int) else len(part) <= LONGEST


def _unknown(text: str) -> ValueError:
    return ValueError(f"expected next_cursor of the page before, found {text[:60]!r}")

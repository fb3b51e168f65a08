"""Where the next page begins, as an opaque text that is safe in a URL."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from schemas.events import MAX_NS

_PREFIX: Final = b"t1."


def to_cursor(after: int) -> str:
    """A cursor behind the row whose time is `after`.

    >>> from_cursor(to_cursor(1_381_152_600_000_000_000))
    1381152600000000000
    """
    return urlsafe_b64encode(_PREFIX + str(after).encode()).rstrip(b"=").decode()


def from_cursor(text: str) -> int:
    """The time behind which the page begins. Raises: `ValueError` for what `to_cursor` did not make."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        digits = raw.removeprefix(_PREFIX)
        after = int(digits) if digits != raw and digits.isdigit() else -1
    except ValueError:
        after = -1
    if not 0 <= after <= MAX_NS:
        raise ValueError(f"expected next_cursor of the page before, found {text[:60]!r}")
    return after

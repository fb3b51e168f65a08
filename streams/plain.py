"""Trades and quotes whose bytes are just what our own encoder writes, straight from the bytes to columns.

Only what is certain is taken: fields in our order without blanks, text of printable ASCII without escapes, whole numbers of
at most 19 digits, decimals whose digits fit 53 bits (one division of two exact numbers then is the nearest float), and every
bound of the schema. All else, valid or not, is left to the decoder of the schema, which also says what is wrong.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import inspect
from numba import njit
from numpy.typing import NDArray

from processors.batch import PRINT, QUOTE, TRADE
from processors.columns import EventColumns, Names, no_values
from schemas.events import Quote, Trade

LEFT: Final = -1
"""Kind of a record that is not plain; its other columns say nothing."""
LONGEST: Final = 1_024
"""Bytes: no plain record is as long, and those that are need not be copied."""
MOST_NAMES: Final = 4_096
"""Different symbols and venues of a block; a record that names one more is left."""


def plain(values: Sequence[bytes | None]) -> EventColumns:
    """The columns of all records; the kind of those that are not plain is `LEFT`."""
    n = len(values)
    given = [b"" if value is None or len(value) > LONGEST else value for value in values]
    text = np.frombuffer(b"\n".join((*given, b"")), np.uint8)
    lengths = np.fromiter(map(len, given), np.int64, n)
    found = all_left(n)
    names = np.zeros((2, n), np.int32)
    room = min(2 * n, MOST_NAMES)
    spans, slots = np.empty((room, 2), np.int64), np.full(1 << (2 * room).bit_length(), -1, np.int32)
    stamps = (found.seq, found.ts_event, found.ts_ingest)
    numbers = (found.price, found.size, found.bid, found.bid_size, found.ask, found.ask_size)
    count = _read(text, lengths, found.kind, found.side, stamps, numbers, (names, spans, slots), _MOST)
    words = [text[first:end].tobytes().decode() for first, end in spans[:count].tolist()]
    return found.named(Names(names[0], words), Names(names[1], words))


def all_left(n: int) -> EventColumns:
    """n records of which none was looked at."""
    found = no_values(n)
    found.kind[:] = LEFT
    return found


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _key(name: str) -> NDArray[np.uint8]:
    return _bytes(f',"{name}":')


_TYPES: Any = inspect.multi_type_info((Trade, Quote))
_OF: Final[dict[str, Any]] = {field.name: field.type for each in _TYPES for field in each.fields}
_SEQ, _NS, _SYMBOL, _VENUE, _NOTE = range(5)
_PRICE, _SIZE, _QUOTED_SIZE = range(3)
_MOST: Final = (
    np.array([_OF["seq"].le, _OF["ts_event"].le, *(_OF[name].max_length for name in ("symbol", "venue", "trade_id"))]),
    np.array([_OF[name].le for name in ("price", "size", "bid_size")]),
)
"""Bounds of the schema: handed to the kernel, for what is compiled into one may outlive its file in Numba's cache."""
_TRADE_HEAD, _QUOTE_HEAD = _bytes('{"type":"trade","symbol":"'), _bytes('{"type":"quote","symbol":"')
_VENUE_KEY, _SEQ_KEY = _bytes('","venue":"'), _bytes('","seq":')
_TS_EVENT_KEY, _TS_INGEST_KEY = _key("ts_event"), _key("ts_ingest")
_PRICE_KEY, _SIZE_KEY = _key("price"), _key("size")
_BID_KEY, _BID_SIZE_KEY, _ASK_KEY, _ASK_SIZE_KEY = _key("bid"), _key("bid_size"), _key("ask"), _key("ask_size")
_BOUGHT, _SOLD, _IN_NO_BARS = _bytes(',"side":"buy"'), _bytes(',"side":"sell"'), _bytes(',"in_bars":false')
_TRADE_ID_KEY, _CONDITIONS_KEY = _bytes(',"trade_id":"'), _bytes(',"conditions":"')
_QUOTED, _ESCAPE, _POINT, _ZERO, _END = (np.uint8(ord(character)) for character in '"\\.0}')
_PRINTABLE: Final = (32, 126)
_DIGITS: Final = 19
"""As many fit 64 bits."""
_EXACT: Final = 2**53
_POWERS: Final = np.array([float(10**k) for k in range(_DIGITS)])
"""Each of them exact."""


@njit(cache=True)
def _read(text, lengths, kind, side, stamps, numbers, names, most):  # type: ignore[no-untyped-def]
    """Fill the rows of the plain records; how many names there are. A line feed stands behind every record and ends it."""
    (seq, ts_event, ts_ingest), (price, size, bid, bid_size, ask, ask_size) = stamps, numbers
    (codes, spans, slots), (whole, decimal) = names, most
    count = end = 0
    for i in range(len(lengths)):
        start = end
        end += lengths[i] + 1
        at, traded = _past(text, start, _QUOTE_HEAD), False
        if at < 0:
            at, traded = _past(text, start, _TRADE_HEAD), True
        if at < 0:
            continue
        at, symbol, venue, seq[i], ts_event[i], ts_ingest[i] = _identity(text, at, whole)
        if traded:
            at, what, price[i], size[i], side[i] = _trade(text, at, whole, decimal)
        else:
            at, what, bid[i], bid_size[i], ask[i], ask_size[i] = _quote(text, at, decimal)
        if at < 0 or text[at] != _END or at + 2 != end:
            continue
        codes[0, i], count = _name(text, symbol, spans, slots, count)
        codes[1, i], count = _name(text, venue, spans, slots, count)
        if codes[0, i] >= 0 and codes[1, i] >= 0:
            kind[i] = what
    return count


@njit(cache=True)
def _identity(text, at, whole):  # type: ignore[no-untyped-def]
    """(behind it, span of the symbol, span of the venue, seq, ts_event, ts_ingest) of what follows the head."""
    behind = _text(text, at, 1, whole[_SYMBOL])
    symbol = (at, behind)
    at = _past(text, behind, _VENUE_KEY)
    behind = _text(text, at, 1, whole[_VENUE])
    venue = (at, behind)
    at, seq = _integer(text, _past(text, behind, _SEQ_KEY), whole[_SEQ])
    at, ts_event = _integer(text, _past(text, at, _TS_EVENT_KEY), whole[_NS])
    at, ts_ingest = _integer(text, _past(text, at, _TS_INGEST_KEY), whole[_NS])
    return at, symbol, venue, seq, ts_event, ts_ingest


@njit(cache=True)
def _trade(text, at, whole, decimal):  # type: ignore[no-untyped-def]
    """(behind it, kind, price, size, side) of what follows the identity; what is default is not written."""
    at, price = _decimal(text, _past(text, at, _PRICE_KEY), decimal[_PRICE])
    at, size = _decimal(text, _past(text, at, _SIZE_KEY), decimal[_SIZE])
    if at < 0 or not (price > 0.0 and size > 0.0):
        return -1, TRADE, price, size, 0
    side, kind = 0, TRADE
    bought, sold = _past(text, at, _BOUGHT), _past(text, at, _SOLD)
    if bought >= 0:
        at, side = bought, 1
    elif sold >= 0:
        at, side = sold, -1
    at = _note(text, _note(text, at, _TRADE_ID_KEY, whole[_NOTE]), _CONDITIONS_KEY, whole[_NOTE])
    unbarred = _past(text, at, _IN_NO_BARS)
    if unbarred >= 0:
        at, kind = unbarred, PRINT
    return at, kind, price, size, side


@njit(cache=True)
def _quote(text, at, decimal):  # type: ignore[no-untyped-def]
    """(behind it, kind, bid, bid_size, ask, ask_size) of what follows the identity."""
    at, bid = _decimal(text, _past(text, at, _BID_KEY), decimal[_PRICE])
    at, bid_size = _decimal(text, _past(text, at, _BID_SIZE_KEY), decimal[_QUOTED_SIZE])
    at, ask = _decimal(text, _past(text, at, _ASK_KEY), decimal[_PRICE])
    at, ask_size = _decimal(text, _past(text, at, _ASK_SIZE_KEY), decimal[_QUOTED_SIZE])
    if not (bid > 0.0 and ask > 0.0):
        at = -1
    return at, QUOTE, bid, bid_size, ask, ask_size


@njit(cache=True)
def _past(text, at, literal):  # type: ignore[no-untyped-def]
    """The place behind the literal; -1 where it does not stand at `at`."""
    if at < 0:
        return -1
    for k in range(len(literal)):
        if text[at + k] != literal[k]:
            return -1
    return at + len(literal)


@njit(cache=True)
def _text(text, at, least, most):  # type: ignore[no-untyped-def]
    """The place of the quotation mark that ends a text of `least` to `most` characters; -1 where it is no such text."""
    if at < 0:
        return -1
    first = at
    while _PRINTABLE[0] <= text[at] <= _PRINTABLE[1] and text[at] != _QUOTED and text[at] != _ESCAPE:
        at += 1
    return at if text[at] == _QUOTED and least <= at - first <= most else -1


@njit(cache=True)
def _note(text, at, key, most):  # type: ignore[no-untyped-def]
    """The place behind a note that may be there; -1 where it is none that is plain."""
    first = _past(text, at, key)
    if first < 0:
        return at
    behind = _text(text, first, 0, most)
    return behind + 1 if behind >= 0 else -1


@njit(cache=True)
def _digits(text, at, value):  # type: ignore[no-untyped-def]
    """(behind the digits, `value` with them behind its own); the value is right while there are at most `_DIGITS`."""
    while True:
        digit = np.uint64(text[at]) - np.uint64(_ZERO)
        if digit > np.uint64(9):  # what is below zero has wrapped around
            return at, value
        value = value * np.uint64(10) + digit
        at += 1


@njit(cache=True)
def _integer(text, at, most):  # type: ignore[no-untyped-def]
    """(behind it, a whole number of at most `most`); -1 where there is none that is plain."""
    if at < 0:
        return -1, np.int64(0)
    behind, value = _digits(text, at, np.uint64(0))
    if not 1 <= behind - at <= _DIGITS or (text[at] == _ZERO and behind - at > 1) or value > np.uint64(most):
        return -1, np.int64(0)
    return behind, np.int64(value)


@njit(cache=True)
def _decimal(text, at, most):  # type: ignore[no-untyped-def]
    """(behind it, a number from 0 to `most` with a point); -1 where there is none that is plain."""
    if at < 0:
        return -1, 0.0
    point, value = _digits(text, at, np.uint64(0))
    if point == at or text[point] != _POINT or (text[at] == _ZERO and point - at > 1):
        return -1, 0.0
    behind, value = _digits(text, point + 1, value)
    places = behind - point - 1
    if places < 1 or behind - at - 1 > _DIGITS or value > np.uint64(_EXACT):
        return -1, 0.0
    number = np.float64(value) / _POWERS[places]
    return (behind, number) if number <= most else (-1, 0.0)


@njit(cache=True)
def _name(text, span, spans, slots, count):  # type: ignore[no-untyped-def]
    """(number of the name at `span`, how many there are now); -1 where there is no room for another. Slots: open addressing."""
    first, end = span
    key = np.uint64(14695981039346656037)  # FNV-1a
    for k in range(first, end):
        key = (key ^ np.uint64(text[k])) * np.uint64(1099511628211)
    slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        known = slots[slot]
        if _same(text, first, end, spans[known, 0], spans[known, 1]):
            return known, count
        slot = (slot + 1) & (len(slots) - 1)
    if count == len(spans):
        return -1, count
    slots[slot] = count
    spans[count, 0], spans[count, 1] = first, end
    return count, count + 1


@njit(cache=True)
def _same(text, first, end, other, other_end):  # type: ignore[no-untyped-def]
    if end - first != other_end - other:
        return False
    while first < end and text[first] == text[other]:
        first, other = first + 1, other + 1
    return first == end

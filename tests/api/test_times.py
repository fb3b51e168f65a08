"""RFC 3339 with nine digits, against NumPy's clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import from_cursor, to_cursor
from api.times import from_rfc3339, to_rfc3339
from schemas.events import MAX_NS


@given(st.integers(0, MAX_NS))
def test_every_nanosecond_is_written_as_numpy_writes_it_and_read_back(ns: int) -> None:
    assert to_rfc3339(ns) == f"{np.datetime64(ns, 'ns')}Z"
    assert from_rfc3339(to_rfc3339(ns)) == ns
    assert from_cursor(to_cursor((ns, "log", 7)), (int, str, int)) == (ns, "log", 7)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2013-10-07T13:30:00Z", "2013-10-07T09:30:00-04:00"),
        ("2013-10-07T00:00:00Z", "2013-10-07"),
        ("2013-10-07t13:30:00.5z", "2013-10-07 13:30:00.500000000Z"),
        ("2024-02-29T23:59:59.999999999Z", "2024-03-01T05:29:59.999999999+05:30"),
    ],
)
def test_zones_and_short_forms_are_the_same_moment(text: str, same: str) -> None:
    assert from_rfc3339(text) == from_rfc3339(same)


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2013-10-07T13:30:00", "2013-10-07T13:30Z", "2013-13-07T13:30:00Z", "2013-10-07T25:30:00Z",
        "1969-12-31T23:59:59Z", "2100-01-01T00:00:00.000000001Z", "1381152600", "٢٠١٣-10-07T13:30:00Z",
        "2013-10-07T13:30:00.0000000001Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is for people: it differs by what is wrong
        from_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    ["", "x", "AAAA", "dDEuLTE", "€", to_cursor((1,))[:-1] + "!", to_cursor(("1",)), to_cursor((1, 2)), to_cursor((-1,)),
     to_cursor((2**80,)), to_cursor(())],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected next_cursor of the page before"):
        from_cursor(text, (int,))

"""A calendar that was kept is the one that was computed, and a file that is torn is made anew."""

from pathlib import Path

import numpy as np
import pytest

import infra.calendars
from infra.calendars import calendar
from schemas.errors import SettingsError

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # exchange_calendars 4.13 on pandas 3.1


def test_what_is_kept_is_what_was_computed_and_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = calendar("XNYS", tmp_path)
    monkeypatch.setattr(infra.calendars, "_computed", lambda name: pytest.fail(f"{name} is computed again"))
    kept = calendar("XNYS", tmp_path)
    for name in ("start", "open", "close"):
        assert np.array_equal(getattr(kept, name), getattr(computed, name))
    assert len(kept.start) > 9_000


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04 torn"])
def test_a_torn_file_is_made_anew(tmp_path: Path, left: bytes) -> None:
    whole = calendar("XNYS", tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(left)
    assert np.array_equal(calendar("XNYS", tmp_path).open, whole.open)
    assert np.array_equal(calendar("XNYS", tmp_path).open, whole.open)
    assert path.stat().st_size > 1_000


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "CMES"])
def test_trading_lies_within_its_session_also_where_it_opens_on_the_evening_before(name: str) -> None:
    found = calendar(name)
    assert (np.diff(found.start) > 0).all()
    assert (found.start <= found.open).all()
    assert (found.close[:-1] <= found.start[1:]).all()
    assert (found.start == found.open).any() == (name == "CMES")


@pytest.mark.parametrize("name", ["XNYSE", "../XNYS", ""])
def test_a_name_that_is_no_exchange_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"no exchange calendar is named '{name}'"):
        calendar(name, tmp_path)
    assert list(tmp_path.iterdir()) == []

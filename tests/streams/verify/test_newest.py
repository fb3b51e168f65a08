"""The newest rows in Redis against the fold: stale, missing, altered and invented ones are found."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from schemas.rows import Latest
from streams.newest_check import NewestRead
from tests.streams.verify.history import History, log_of

Change = Callable[[Latest], Latest]


@pytest.fixture(scope="module")
def history() -> History:
    return History(log_of()).serve()


def told(history: History, latest: dict[str, Latest], kept_since_ms: int = 0, position: int | None = None) -> list[str]:
    """What is found in these newest rows."""
    verdict = history.verify(newest=NewestRead(latest, kept_since_ms), position=position)
    assert verdict.wrong == len({(each.offset, each.what) for each in verdict.findings})
    return [f"{each.what} {each.column} {each.found}" for each in verdict.findings]


def test_newest_rows_as_they_were_written_are_right(history: History) -> None:
    assert told(history, history.latest) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda row: replace(row, price=row.price + 1.0), "S0 price"),
        (lambda row: replace(row, online=0.123), "S0 online"),
        (lambda row: replace(row, ts_ingest=row.ts_ingest + 1), "S0 ts_ingest"),
        (lambda row: replace(row, features={**row.features, "spread": 3.0}), "S0 features.spread"),
    ],
)
def test_an_altered_newest_row_is_found_with_its_field(history: History, change: Change, expected: str) -> None:
    (found,) = told(history, history.latest | {"S0": change(history.latest["S0"])})
    assert found.startswith(f"differs {expected}")


def test_a_row_that_is_older_than_the_newest_is_stale(history: History) -> None:
    early = History(log_of()).serve_until(600).latest["S0"]
    assert early.src_offset < history.latest["S0"].src_offset
    (found,) = told(history, history.latest | {"S0": early})
    assert "stale" in found


def test_a_missing_row_is_found_unless_the_store_has_forgotten_since(history: History) -> None:
    without = {symbol: row for symbol, row in history.latest.items() if symbol != "S0"}
    (found,) = told(history, without)
    assert found.startswith("lost S0")
    assert told(history, without, kept_since_ms=2**62) == []


def test_a_row_of_another_log_is_wrong(history: History) -> None:
    other = replace(history.latest["S0"], log_id="before")
    (found,) = told(history, history.latest | {"S0": other})
    assert found.endswith("log before")


def test_a_row_that_the_fold_never_said_is_wrong(history: History) -> None:
    invented = replace(history.latest["S0"], symbol="S9")
    found = told(history, history.latest | {"S9": invented})
    assert [each.split()[:2] for each in found] == [["unexpected", "S9"]]


def test_a_row_newer_than_what_is_judged_is_still_compared(history: History) -> None:
    until = history.records - 200
    assert history.verify(end=until, position=until).clean
    changed = {symbol: replace(row, price=1.0) for symbol, row in history.latest.items()}
    assert history.verify(end=until, position=until, newest=NewestRead(changed, 0)).wrong == len(changed)

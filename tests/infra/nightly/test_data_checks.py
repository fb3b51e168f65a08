"""Data checks: a sound matrix passes, and each planted fault is refused by name, with the rows that have it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.nightly.data_checks import BOUNDS, CheckLimits, checked, read_limits
from infra.nightly.data_report import report
from infra.nightly.plan import Check, MatrixManifest, canonical
from processors.batch import NS
from processors.features import FEATURE_NAMES
from schemas.errors import InputError
from streams.nightly import MatrixRows
from tests.infra.matrices import changed, rows, written

HOUR = 3_600 * NS


def failed(
    directory: Path, pieces: list[MatrixRows], limits: CheckLimits | None = None, **written_with: Any
) -> list[Check]:
    manifest = written(directory, pieces, **written_with)
    return [check for check in checked(directory, manifest, limits or CheckLimits()).checks if not check.passed]


def sound() -> list[MatrixRows]:
    return [rows(0, 0), rows(0, 1), rows(1, 0)]


def test_a_sound_matrix_passes_every_check(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m", sound())
    result = checked(tmp_path / "m", manifest, CheckLimits())
    assert result.passed
    assert {check.subject for check in result.checks if check.name == "missing share"} == set(FEATURE_NAMES)


def test_every_bound_is_of_a_feature_that_there_is() -> None:
    assert set(BOUNDS) <= set(FEATURE_NAMES)


@pytest.mark.parametrize(
    ("values", "subject"),
    [
        ({"price": (0.0, 20.0)}, "price"),
        ({"price": (20.0, np.nan)}, "price_matured"),
        ({"price": (20.0, 60.0)}, "log_return"),
        ({"label": 2.0}, "label"),
        ({"ts": -1}, "ts_event"),
        ({"offset": -5}, "offset"),
        ({"symbol": ""}, "symbol"),
        ({"rsi_14m": 100.5}, "rsi_14m"),
        ({"spread": -1e-6}, "spread"),
        ({"high_dist_300s": 0.01}, "high_dist_300s"),
        ({"return_ewm_5s": np.inf}, "return_ewm_5s"),
        ({"ofi_10s": -2e9}, "ofi_10s"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_one_value_out_of_its_range_is_refused_and_its_row_is_named(tmp_path: Path, values: Any, subject: str) -> None:
    pieces = sound()
    pieces[1] = changed(pieces[1], 7, **values)
    found = {check.subject: check for check in failed(tmp_path / "m", pieces)}
    assert subject in found
    assert found[subject].broken == 1
    assert found[subject].examples[0].startswith(f"0@{pieces[1].offset[7]} ")


def test_the_same_partition_and_offset_twice_is_refused_also_across_pieces(tmp_path: Path) -> None:
    pieces = sound()
    pieces[1] = changed(pieces[1], 3, offset=int(pieces[0].offset[5]))
    (found,) = failed(tmp_path / "m", pieces)
    assert (found.name, found.found) == ("duplicates", 1.0)


def test_one_offset_in_two_partitions_is_no_duplicate(tmp_path: Path) -> None:
    pieces = [rows(0, 0), changed(rows(1, 0), 0, offset=int(rows(0, 0).offset[0]))]
    assert failed(tmp_path / "m", pieces) == []


def test_a_feature_that_nearly_all_rows_lack_is_refused_unless_it_may_be_missing(tmp_path: Path) -> None:
    def without(name: str) -> list[MatrixRows]:
        pieces = sound()
        for piece in pieces:
            piece.features[1:, FEATURE_NAMES.index(name)] = np.nan
        return pieces

    (found,) = failed(tmp_path / "a", without("spread"))
    lacking = sum(np.isnan(p.features[:, FEATURE_NAMES.index("spread")]).sum() for p in without("spread"))
    assert (found.name, found.subject, found.found) == ("missing share", "spread", lacking / 1_200)
    assert failed(tmp_path / "b", without("news_sentiment_ewm_120s")) == []
    assert failed(tmp_path / "c", without("spread"), CheckLimits(may_miss=("spread",))) == []


def test_rows_that_end_long_before_the_log_are_refused(tmp_path: Path) -> None:
    pieces = sound()
    newest = max(int(piece.ts.max()) for piece in pieces)
    (found,) = failed(tmp_path / "a", pieces, newest_ns=newest + 97 * HOUR)
    assert (found.name, found.found) == ("hours behind the log", 97.0)
    assert failed(tmp_path / "b", pieces, newest_ns=newest + 96 * HOUR) == []


def test_records_that_nobody_has_are_refused_unless_a_limit_allows_them(tmp_path: Path) -> None:
    (found,) = failed(tmp_path / "a", [rows(0, 0), rows(0, 1)], lost=3)
    assert (found.name, found.found) == ("records that nobody has", 3.0)
    assert failed(tmp_path / "b", [rows(0, 0), rows(0, 1)], CheckLimits(lost=3), lost=3) == []


def test_most_symbols_gone_quiet_is_refused(tmp_path: Path) -> None:
    quiet = rows(0, 0)
    later = changed(rows(1, 0), slice(None), ts=quiet.ts.max() + 25 * HOUR, symbol="X")
    (found,) = failed(tmp_path / "m", [quiet, later])
    assert (found.name, found.found) == ("share of symbols that went quiet", 2 / 3)


def test_too_few_rows_and_symbols_that_never_came_are_refused(tmp_path: Path) -> None:
    found = failed(tmp_path / "m", [rows(0, 0)], symbols=["S00", "NOPE"])
    assert [(check.name, check.subject, check.found) for check in found] == [
        ("too few rows", "matrix", 100.0),
        ("symbols without a row", "NOPE", 1.0),
    ]


def test_a_matrix_without_rows_is_refused(tmp_path: Path) -> None:
    names = {check.name for check in failed(tmp_path / "m", [rows(0, 0, n=0)], newest_ns=5)}
    assert {"too few rows", "hours behind the log", "missing share"} <= names


def two_venues(gap: float) -> list[MatrixRows]:
    """S00 and S01 of partition 0 become one instrument of two venues, `gap` apart."""
    one = changed(rows(0, 0, n=600), slice(None), symbol="BTC-USD")
    other = changed(rows(1, 0, n=600), slice(None), symbol="BTC-USD.KRAKEN")
    one, other = changed(one, slice(None), ts=np.sort(one.ts)), changed(other, slice(None), ts=np.sort(one.ts))
    price = np.column_stack([one.price[:, 0] * (1 + gap), one.price[:, 1] * (1 + gap)])
    return [one, changed(other, slice(None), price=price, label=one.label)]


@pytest.mark.parametrize(
    "limits", [CheckLimits(suffixes=("KRAKEN",)), CheckLimits(pairs=(("BTC-USD", "BTC-USD.KRAKEN"),))]
)
def test_one_instrument_of_two_venues_must_have_about_one_price(tmp_path: Path, limits: CheckLimits) -> None:
    assert failed(tmp_path / "a", two_venues(0.001), limits) == []
    (found,) = failed(tmp_path / "b", two_venues(0.02), limits)
    assert found.name == "price gap in 600 common seconds"
    assert found.found == pytest.approx(np.log(1.02))


def test_a_pair_that_is_never_seen_together_is_not_taken_as_agreeing(tmp_path: Path) -> None:
    (found,) = failed(tmp_path / "m", sound(), CheckLimits(pairs=(("S00", "NOPE"),)))
    assert (found.name, found.found) == ("price gap in 0 common seconds", None)


def test_the_report_names_what_failed_and_the_rows(tmp_path: Path) -> None:
    pieces = sound()
    pieces[0] = changed(pieces[0], 4, rsi_14m=500.0)
    manifest = written(tmp_path / "m", pieces)
    result = checked(tmp_path / "m", manifest, CheckLimits())
    text = report(
        MatrixManifest(**{**{f: getattr(manifest, f) for f in manifest.__struct_fields__}, "checked": result})
    )
    assert "refused" in text.splitlines()[0]
    assert f"0@{pieces[0].offset[4]} {pieces[0].symbol[4]} rsi_14m=500.0" in text
    assert "| ok | duplicates |" in text


def test_limits_come_from_json_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"missing": 1.0, "pairs": [["A", "B"]]}')
    assert read_limits(path) == CheckLimits(missing=1.0, pairs=(("A", "B"),))
    path.write_text('{"mising": 1.0}')
    with pytest.raises(InputError, match="mising"):
        read_limits(path)


def test_checks_that_are_repeated_say_the_same_bytes(tmp_path: Path) -> None:
    pieces = sound()
    pieces[0] = changed(pieces[0], 4, rsi_14m=500.0)
    manifest = written(tmp_path / "m", pieces)
    once, again = (checked(tmp_path / "m", manifest, CheckLimits()) for _ in range(2))
    assert canonical(once) == canonical(again)

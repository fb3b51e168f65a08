"""`tickwire evaluate` from recordings to the page: it takes what it is asked for, says what is missing, claims nothing more."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infra.chosen_recordings import chosen
from infra.cli.batch import app
from infra.cli.evaluate import Asked, run, run_dataset
from infra.evaluation import Questions, report_of
from infra.settings import Settings
from models.dataset import Dataset
from schemas.errors import InputError, TrainingError
from tests.models.datasets import dataset
from tests.streams.recordings.files import plain

MONDAY, TUESDAY = date(2013, 10, 7), date(2013, 10, 8)
QUOTE, TRADE = "34200000,1000000,300,0,0,Q,1,0", "34200000,1000000,100,Q,1,0"
BAR = "34200000,1000000,1000000,1000000,1000000,100,1000100,1000100,1000100,1000100,100"
BOTH = ("34200000,1000000,300,0,0,Q,1,0", "34200001,0,0,1000100,300,Q,1,0")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for day in ("20131007", "20131008"):
        plain(tmp_path / f"lean_usa_tick_ibm_{day}_quote.csv", *BOTH)
        plain(tmp_path / f"lean_usa_tick_ibm_{day}_trade.csv", TRADE)
        plain(tmp_path / f"lean_usa_tick_spy_{day}_trade.csv", TRADE)
        plain(tmp_path / f"lean_usa_second_spy_{day}_quote.csv", BAR)
        plain(tmp_path / f"lean_usa_second_ibm_{day}_quote.csv", BAR)
    plain(tmp_path / "lean_usa_tick_bac_20131007_trade.csv", TRADE)
    return tmp_path


def test_quotes_come_first_and_bars_only_where_there_are_no_quote_ticks(files: Path) -> None:
    found = chosen([files], frozenset({"IBM", "SPY"}), frozenset({MONDAY}))
    assert [Path(recording.name).name for recording in found.recordings] == [
        "lean_usa_tick_ibm_20131007_quote.csv", "lean_usa_second_spy_20131007_quote.csv",
        "lean_usa_tick_ibm_20131007_trade.csv", "lean_usa_tick_spy_20131007_trade.csv",
    ]  # fmt: skip


def test_what_is_not_there_is_said(files: Path) -> None:
    told = chosen([files], frozenset(), frozenset({MONDAY})).told()
    assert told == [
        "BAC 2013-10-07: trade ticks (no quotes: labels are of the last trade).",
        "IBM 2013-10-07: quote ticks, trade ticks.",
        "SPY 2013-10-07: quotes at the end of each second, trade ticks (quote ticks are not available).",
    ]


def test_a_symbol_without_a_recording_of_a_wanted_day_is_refused(files: Path) -> None:
    with pytest.raises(InputError, match="found none of BAC 2013-10-08"):
        chosen([files], frozenset({"BAC", "IBM"}), frozenset({MONDAY, TUESDAY}))
    with pytest.raises(InputError, match="found none of any US equity"):
        chosen([files], frozenset(), frozenset({date(2020, 1, 1)}))


def test_a_dataset_is_judged_walk_forward_with_the_leak_alarm_on() -> None:
    market = dataset(6_000)
    features = market.features.copy()
    features[:, 2] = market.returns
    questions = Questions(command="c", folds=2, draws=100, block_ns=60 * 10**9)
    report = report_of(replace(market, features=features), questions, lambda *_: None)
    assert {"feature noise_b", "logistic regression"} <= {alarm.source for alarm in report.alarms}
    assert [part.name for part in report.parts] == ["All symbols", "S0", "S1"]
    assert any("walk-forward in 2 tests" in fact for fact in report.facts)


def test_a_symbol_that_traded_in_few_blocks_has_no_intervals_and_ends_nothing() -> None:
    market = dataset(6_000, hint=0.6)
    rare = market.taken((market.symbol == 0) | (np.arange(len(market)) % 1_200 == 1))
    report = report_of(rare, Questions(command="c", folds=2, draws=100, block_ns=240 * 10**9), lambda *_: None)
    assert [part.name for part in report.parts] == ["All symbols", "S0", "S1"]
    every, often, seldom = (part.evaluations[-1] for part in report.parts)
    assert every.gain.low > 0
    assert often.gain.low > 0
    assert np.isfinite(seldom.gain.value)
    assert np.isnan(seldom.gain.low)
    assert "[—]" in report.markdown("m").partition("## S1 alone")[2]


def test_a_directory_is_read_by_the_loader_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Path] = []

    def load(directory: Path) -> Dataset:
        asked.append(directory)
        return dataset(8_000, hint=0.6)

    out = tmp_path / "docs" / "models.md"
    run(Settings(), Asked(paths=(tmp_path,), folds=2, draws=100, out=out), as_json=True, load=load)
    told = json.loads(capsys.readouterr().out)
    assert asked == [tmp_path]
    assert told["written"][0] == str(out)
    assert all(Path(path).is_file() for path in told["written"])
    assert len(told["written"]) == 4
    rows = told["parts"]["All symbols"]
    assert [row["name"] for row in rows][:4] == ["always flat", "base rate", "last sign", "logistic regression"]
    assert rows[3]["gain"]["low"] > 0


def test_wrong_days_are_refused_by_the_name_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--train: expected a day such as 2013-10-07, was '7 Oct'"):
        run(Settings(), Asked(paths=(tmp_path,), train="7 Oct"), as_json=True)
    with pytest.raises(InputError, match="--dataset: expected one directory"):
        run_dataset(Settings(), Asked(paths=(tmp_path, tmp_path)), as_json=True)
    with pytest.raises(TrainingError, match="leaves 0 rows to train on"):
        report_of(dataset(1_000), Questions(command="c", test=MONDAY), lambda *_: None)


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # exchange_calendars 4.13 on pandas 3.1
def test_ibm_of_two_real_days_from_one_command(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "models.md"
    folders = [str(shared_data / name) for name in ("ticks", "quotes")]
    options = ["--symbols", "IBM", "--train", "2013-10-07", "--test", "2013-10-08", "--draws", "200", "--out", str(out)]
    found = CliRunner().invoke(app, ["evaluate", *folders, *options, "--json"], catch_exceptions=False)
    told = json.loads(found.stdout)
    assert told["alarms"] == []
    page = out.read_text()
    assert "IBM 2013-10-08: quote ticks, trade ticks." in page
    for row in told["parts"]["All symbols"]:
        assert row["rows"] > 10_000
        assert row["gain"]["low"] <= row["gain"]["value"] <= row["gain"]["high"]
        assert row["net_bp"]["value"] is None or row["net_bp"]["value"] < 0

"""The scoreboard's numbers are those of `models.evaluation` on the same rows, by symbol, by venue and by groups."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.clickhouse import Database, Result, connect
from infra.embedded.services import Embedded
from infra.models.scoreboard import Line, Wanted, scoreboard, told
from models.bootstrap import BLOCK_NS, Blocks, Interval
from models.candidate import Contest
from models.dataset import Dataset
from models.evaluation import BASE_RATE, Evaluation, evaluate
from schemas.tables import OUTCOME_SCORES, QUOTES, TRADES, features_table

pytestmark = pytest.mark.embedded
NS = 1_000_000_000
START = 1_700_000_000 * NS
EVERY_S, HORIZON_NS = 20, 10 * NS
SYMBOLS = {"AAA": "X", "BBB": "X", "CCC": "Y"}
HOURS = 2
MEASURES = ("log_loss", "gain", "brier", "calibration_error", "hit_rate", "information", "net_bp")


@dataclass(frozen=True)
class Stored:
    """Two hours of three symbols of two venues, scored by m1, and for its newest 20 minutes by m2."""

    database: Database
    name: str
    tested: Dataset
    scores: NDArray[np.float64]

    def lines(self, wanted: Wanted) -> dict[tuple[str, str], Line]:
        return {(line.group, line.model): line for line in scoreboard(self.database, self.name, wanted)}


def market() -> tuple[Dataset, NDArray[np.float64]]:
    rng, steps = np.random.default_rng(3), HOURS * 3600 // EVERY_S
    n = steps * len(SYMBOLS)
    score, returns = rng.uniform(0.2, 0.8, n), rng.normal(0, 1e-3, n)
    label = np.where(np.abs(returns) < 1e-4, 0.5, (rng.random(n) < score).astype(float))
    returns = np.where(label == 0.5, 0.0, np.abs(returns) * np.where(label == 1, 1, -1))
    ts = np.repeat(START + np.arange(steps) * EVERY_S * NS, len(SYMBOLS))
    spread = rng.uniform(1e-4, 4e-4, n).reshape(-1, 1)
    return Dataset(
        spread, label, returns, ts, np.tile(np.arange(3), steps), list(SYMBOLS), ("spread",), HORIZON_NS
    ), score  # fmt: skip


@pytest.fixture(scope="module")
def stored(embedded: Embedded) -> Iterator[Stored]:
    tested, scores = market()
    name, database = f"board_{uuid.uuid4().hex[:8]}", connect(embedded.clickhouse_url)
    database.command(f"CREATE DATABASE `{name}`")
    for table in (features_table(("spread",)), OUTCOME_SCORES, TRADES, QUOTES):
        database.command(table.ddl(name))
    n = len(tested)
    symbols = [tested.symbols[each] for each in tested.symbol]
    source = {
        "log_id": ["log"] * n, "src_partition": np.zeros(n, np.uint16), "src_offset": np.arange(n),
        "ts_broker": tested.ts // 1_000_000,
    }  # fmt: skip
    row = {"symbol": symbols, "ts_event": tested.ts, **source}
    database.insert(f"{name}.features", row | {"kind": ["quote"] * n, "spread": tested.features[:, 0]})
    said = row | {
        "ts_matured": tested.ts + HORIZON_NS, "horizon_ns": np.full(n, HORIZON_NS), "predicted_offset": np.arange(n),
        "model_id": ["m1"] * n, "champion": np.ones(n, np.bool_), "score": scores, "label": tested.label,
        "log_return": tested.returns,
    }  # fmt: skip
    database.insert(f"{name}.outcome_scores", said)
    late = slice(n - 180, n)
    newest = {column: values[late] for column, values in said.items()}
    shadow = {"model_id": ["m2"] * 180, "champion": np.zeros(180, np.bool_)}
    database.insert(f"{name}.outcome_scores", newest | shadow)
    quoted = {
        "venue": [SYMBOLS[each] for each in symbols], "seq": np.arange(n), "ts_ingest": tested.ts, "bid": np.ones(n),
        "bid_size": np.ones(n), "ask": np.ones(n), "ask_size": np.ones(n), "late": np.zeros(n, np.bool_),
    }  # fmt: skip
    database.insert(f"{name}.quotes", row | quoted)
    yield Stored(database, name, tested, scores)
    database.command(f"DROP DATABASE `{name}`")
    database.close()


def expected(stored: Stored, mine: NDArray[np.bool_]) -> Evaluation:
    """By `models.evaluation` alone."""
    tested, scores = stored.tested.taken(mine), stored.scores[mine]
    base = np.full(len(tested), tested.label[tested.label != 0.5].mean())
    held = Contest(tested, 0, {BASE_RATE: base, "m1": scores}, frozenset({BASE_RATE}))
    return evaluate(held, Blocks.of(tested.ts, block_ns=BLOCK_NS))[1]


def same(found: Evaluation | None, wanted: Evaluation) -> None:
    assert found is not None
    assert (found.rows, found.moved, found.trades) == (wanted.rows, wanted.moved, wanted.trades)
    for measure in MEASURES:
        mine, theirs = getattr(found, measure), getattr(wanted, measure)
        assert mine == Interval(*(pytest.approx(x, rel=1e-12) for x in (theirs.value, theirs.low, theirs.high))), (
            measure
        )


def test_every_number_is_that_of_the_evaluation_of_the_same_rows(stored: Stored) -> None:
    lines = stored.lines(Wanted(by="symbol"))
    assert [group for group, model in lines if model == "m1"] == ["all", *SYMBOLS]
    same(lines["all", "m1"].found, expected(stored, np.ones(len(stored.tested), np.bool_)))
    for number, symbol in enumerate(SYMBOLS):
        line = lines[symbol, "m1"]
        same(line.found, expected(stored, stored.tested.symbol == number))
        assert (line.outcomes, line.champion_share, line.why) == (len(stored.tested) // 3, 1.0, "")


def test_symbols_of_a_venue_or_of_a_group_are_judged_together(stored: Stored) -> None:
    lines = stored.lines(Wanted(by="venue", groups={"mine": ("AAA", "CCC"), "nobody": ("ZZZ",)}))
    assert [group for group, model in lines if model == "m1"] == ["all", "mine", "nobody", "X", "Y"]
    same(lines["X", "m1"].found, expected(stored, stored.tested.symbol < 2))
    same(lines["Y", "m1"].found, expected(stored, stored.tested.symbol == 2))
    same(lines["mine", "m1"].found, expected(stored, stored.tested.symbol != 1))
    assert (lines["nobody", "m1"].found, lines["nobody", "m1"].why) == (None, "no outcomes of these symbols")


def test_below_ten_blocks_there_is_a_value_and_no_interval_and_that_is_said(stored: Stored) -> None:
    assert stored.lines(Wanted())["all", "m2"].why == ""
    short = stored.lines(Wanted(hours=0.2))["all", "m2"]
    assert short.why.startswith("no interval: confidence needs at least 10 blocks of 100 s, got ")
    assert short.found is not None
    rows = stored.tested.ts >= stored.tested.ts[-1] - 720 * NS
    moved = rows & stored.tested.moved
    p, up = stored.scores[moved], stored.tested.label[moved] == 1
    assert short.found.log_loss.value == pytest.approx(-np.log(np.where(up, p, 1 - p)).mean())
    assert short.champion_share == 0.0
    for measure in MEASURES:
        interval = getattr(short.found, measure)
        assert np.isfinite(interval.value), measure
        assert np.isnan([interval.low, interval.high]).all(), measure
    assert told(short.found.log_loss) == f"{short.found.log_loss.value:.4f} [—]"


def test_features_that_are_stored_twice_and_features_of_nothing_change_no_number(stored: Stored) -> None:
    name, n = f"{stored.name}_twice", len(stored.tested)
    stored.database.command(f"CREATE DATABASE `{name}`")
    for table in (features_table(("spread",)), OUTCOME_SCORES):
        stored.database.command(table.ddl(name))
        stored.database.command(f"SYSTEM STOP MERGES `{name}`.`{table.name}`")
    stored.database.command(f"INSERT INTO `{name}`.outcome_scores SELECT * FROM `{stored.name}`.outcome_scores")
    for gone in (0, 0, n):  # the last are of records that no outcome is about
        asked = f"SELECT * REPLACE (src_offset + {gone} AS src_offset) FROM `{stored.name}`.features"
        stored.database.command(f"INSERT INTO `{name}`.features {asked}")
    twice = replace(stored, name=name)
    try:
        assert stored.database.rows(f"SELECT count() FROM `{name}`.features").rows == [(3 * n,)]
        line = twice.lines(Wanted())["all", "m1"]
    finally:
        stored.database.command(f"DROP DATABASE `{name}`")
    assert line.outcomes == n
    same(line.found, expected(stored, np.ones(n, np.bool_)))


def test_an_outcome_whose_features_are_gone_counts_and_is_no_trade(stored: Stored) -> None:
    name, n = f"{stored.name}_gone", len(stored.tested)
    stored.database.command(f"CREATE DATABASE `{name}`")
    for table in (features_table(("spread",)), OUTCOME_SCORES):
        stored.database.command(table.ddl(name))
    stored.database.command(f"INSERT INTO `{name}`.outcome_scores SELECT * FROM `{stored.name}`.outcome_scores")
    try:
        line = replace(stored, name=name).lines(Wanted())["all", "m1"]
    finally:
        stored.database.command(f"DROP DATABASE `{name}`")
    assert line.found is not None
    assert (line.outcomes, line.found.rows, line.found.trades) == (n, n, 0)


class Counting:
    """A database that counts the rows that become Python's own values."""

    def __init__(self, database: Database) -> None:
        self._database, self.read = database, 0

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> Result:
        found = self._database.rows(sql, parameters)
        self.read += len(found.rows)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def test_outcomes_are_never_values_of_python_one_by_one(stored: Stored) -> None:
    counting: Any = Counting(stored.database)
    lines = scoreboard(counting, stored.name, Wanted())
    assert sum(line.outcomes for line in lines) == len(stored.tested) + 180
    assert counting.read == 2  # the models


def test_another_horizon_has_no_line(stored: Stored) -> None:
    assert scoreboard(stored.database, stored.name, Wanted(horizons_ns=(60 * NS,))) == []


def test_a_model_whose_outcomes_leave_the_window_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.models.scoreboard._groups", lambda *_: {"all": ()})
    monkeypatch.setattr("infra.models.scoreboard._models", lambda *_: [(60 * NS, "retired")])
    monkeypatch.setattr("infra.models.scoreboard._found", lambda *_: {})
    nobody: Any = None
    assert scoreboard(nobody, "name", Wanted()) == []

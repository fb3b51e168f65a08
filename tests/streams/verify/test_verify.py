"""Verification finds every kind of fault in every table, and nothing in a history that has none."""

import copy
import tracemalloc
from typing import Any

import numpy as np
import pytest

from processors.features import FEATURE_NAMES
from schemas.tables import tables
from streams.verdict import Verdict
from tests.fakes import ConstantModel
from tests.streams.verify.history import TABLES, History, Row, flipped, log_of

ZEROS = {"lost": 0, "duplicate": 0, "wrong": 0, "mismatched_feature_bits": 0, "gaps": 0}


@pytest.fixture(scope="module")
def whole() -> History:
    history = History(log_of()).serve()
    assert all(history.served.tables[table] for table in TABLES), "every table has rows"
    return history


@pytest.fixture
def history(whole: History) -> History:
    fresh = History(whole.log, latest=dict(whole.latest), predictions=list(whole.predictions))
    fresh.served.tables = {name: [dict(row) for row in rows] for name, rows in whole.served.tables.items()}
    return fresh


def counts(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in verdict.numbers(None).items() if name in ZEROS}


def middle(rows: list[Row]) -> int:
    return len(rows) // 2


def test_a_whole_history_has_nothing_to_find(history: History) -> None:
    verdict = history.verify()
    assert counts(verdict) == ZEROS
    assert (verdict.clean, verdict.events, verdict.findings) == (True, history.records, [])
    assert verdict.rows["features"] == len(history.served.tables["features"])
    assert not verdict.not_compared


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_one_lost_row_of_any_table_is_found(history: History, table: str, which: str) -> None:
    rows = history.served.tables[table]
    gone = rows.pop({"first": 0, "middle": middle(rows), "last": len(rows) - 1}[which])
    verdict = history.verify()
    assert counts(verdict) == ZEROS | {"lost": 1}
    (finding,) = verdict.findings
    assert (finding.what, finding.table, finding.offset) == ("lost", table, gone["src_offset"])


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_any_row_has_lost_all_of_them(history: History, table: str) -> None:
    rows = len(history.served.tables[table])
    history.served.tables[table] = []
    assert history.verify().lost == rows


@pytest.mark.parametrize("table", TABLES)
def test_one_doubled_row_of_any_table_is_found_raw_though_final_hides_it(history: History, table: str) -> None:
    rows = history.served.tables[table]
    rows.append(dict(rows[middle(rows)]))
    verdict = history.verify()
    assert counts(verdict) == ZEROS | {"duplicate": 1}
    assert verdict.duplicate_final == 0


def test_a_double_that_final_does_not_hide_is_told_apart(history: History) -> None:
    rows = history.served.tables["trades"]
    rows.append(rows[5] | {"ts_event": rows[5]["ts_event"] + 1})  # another sorting key: FINAL keeps both
    verdict = history.verify()
    assert (verdict.duplicate, verdict.duplicate_final, verdict.wrong) == (1, 1, 1)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_no_record_made_is_wrong(history: History, table: str) -> None:
    rows = history.served.tables[table]
    there = {row["src_offset"] for row in rows}
    free = next(offset for offset in range(history.records) if offset not in there)
    rows.append(rows[middle(rows)] | {"src_offset": np.int64(free)})
    verdict = history.verify()
    assert counts(verdict) == ZEROS | {"wrong": 1}
    assert (verdict.findings[0].what, verdict.findings[0].offset) == ("unexpected", free)


RUNS = [("predictions", "onnx_id"), ("predictions", "features_id")]
"""These name who wrote the rows: the tests on model runs."""
EVERY_COLUMN = [
    (table.name, column)
    for table in tables(FEATURE_NAMES)
    for column in table.types
    if column not in ("log_id", "src_partition", "src_offset") and (table.name, column) not in RUNS
]
IDENTIFYING = {
    ("bars", "symbol"),
    ("bars", "kind"),
    ("bars", "start"),
    ("bars", "rev"),
    ("outcomes", "predicted_offset"),
    ("outcomes", "horizon_ns"),
    ("outcome_scores", "predicted_offset"),
    ("outcome_scores", "horizon_ns"),
    ("outcome_scores", "model_id"),
    ("challenger_scores", "model_id"),
    ("alerts", "symbol"),
    ("alerts", "rule"),
    ("model_changes", "action"),
    ("model_changes", "model_id"),
}


def changed(value: Any) -> Any:
    """Another value of the same type: the smallest change that there is."""
    if isinstance(value, np.bool_ | bool):
        return not value
    if isinstance(value, float | np.floating):
        return flipped(float(value)) if np.isfinite(value) else 0.0
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else b"x"
    return value + "x" if isinstance(value, str) else value + type(value)(1)


@pytest.mark.parametrize(("table", "column"), EVERY_COLUMN)
def test_one_changed_value_of_any_column_is_found(history: History, table: str, column: str) -> None:
    rows = history.served.tables[table]
    row = rows[middle(rows)]
    row[column] = changed(row[column])
    verdict = history.verify()
    if (table, column) in IDENTIFYING:
        assert counts(verdict) == ZEROS | {"lost": 1, "wrong": 1}
        return
    of_features = table == "features" and column in FEATURE_NAMES
    assert counts(verdict) == ZEROS | ({"mismatched_feature_bits": 1} if of_features else {"wrong": 1})
    (finding,) = verdict.findings
    assert (finding.what, finding.table, finding.column) == ("differs", table, column)
    assert (finding.offset, finding.expected != finding.found) == (row["src_offset"], True)


@pytest.mark.parametrize("bit", [0, 31, 51, 52, 63])
def test_any_single_bit_of_a_feature_is_found_with_both_patterns(history: History, bit: int) -> None:
    rows = history.served.tables["features"]
    row = next(row for row in rows[middle(rows) :] if np.isfinite(row["spread"]) and row["spread"] != 0)
    before = float(row["spread"])
    row["spread"] = flipped(before, bit)
    verdict = history.verify()
    assert counts(verdict) == ZEROS | {"mismatched_feature_bits": 1}
    assert verdict.findings[0].expected.endswith(f"({np.float64(before).view(np.uint64):016x})")
    assert verdict.findings[0].found.endswith(f"({row['spread'].view(np.uint64):016x})")


def test_nan_is_nan_whatever_its_bits(history: History) -> None:
    rows = history.served.tables["features"]
    row = next(row for row in rows if np.isnan(row["return_ewm_5s"]))
    row["return_ewm_5s"] = np.uint64(0x7FF8_0000_0000_0123).view(np.float64)
    assert history.verify().clean


def test_two_rows_with_bad_bits_count_once_each_however_many_features_differ(history: History) -> None:
    rows = history.served.tables["features"]
    for row in rows[:2]:
        row["spread"], row["book_imbalance"] = -1.0, -2.0
    verdict = history.verify()
    assert (verdict.mismatched_feature_bits, len(verdict.findings)) == (2, 4)


def test_rows_outside_the_bounds_are_not_judged_but_folded(history: History) -> None:
    for table in TABLES:
        history.served.tables[table] = [row for row in history.served.tables[table] if 600 <= row["src_offset"] < 1_200]
    verdict = history.verify(begin=600, end=1_200, newest=None)
    assert (verdict.clean, verdict.events) == (True, 600)
    rows = history.served.tables["ledger"]
    rows[0]["features_hash"] ^= np.uint64(1)
    assert history.verify(begin=600, end=1_200, newest=None).wrong == 1


def test_a_row_that_comes_a_little_later_is_waited_for_and_a_lost_one_is_not(history: History) -> None:
    late = history.served.tables["quotes"].pop()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        type(history.clock).sleep(history.clock, seconds)
        if len(slept) == 2:
            history.served.tables["quotes"].append(late)

    parts = history.parts(sure_after_ns=history.clock.now_ns() + 10_000_000_000)
    clock = copy.copy(history.clock)
    object.__setattr__(parts, "clock", clock)
    clock.sleep = sleep  # type: ignore[method-assign]
    assert history.verify(sure_after_ns=parts.sure_after_ns, clock=clock).clean
    history.served.tables["quotes"].pop()
    assert history.verify(sure_after_ns=history.clock.now_ns() + 10_000_000_000).lost == 1


def test_offsets_that_no_record_has_are_gaps(history: History) -> None:
    log = history.log
    keep = [i for i in range(history.records) if not 500 <= i < 503]

    class Holey:
        def __init__(self) -> None:
            self.at = 0

        def poll(self, most: int) -> Any:
            reader = log.open(0, 0)
            reader.at = self.at
            poll = reader.poll(most)
            if poll is None:
                return None
            self.at = reader.at
            kept = [i for i, offset in enumerate(poll.offsets) if offset in set(keep)]
            return type(poll)(
                0, [poll.values[i] for i in kept], [poll.offsets[i] for i in kept], [poll.ts_broker[i] for i in kept]
            )

        def lag(self) -> int:
            return 0

        def close(self) -> None: ...

    verdict = history.verify(read=lambda partition, offset: Holey())
    assert verdict.gaps == 3
    assert any((each.what, each.offset) == ("gap", 500) for each in verdict.findings)


def test_a_log_that_ends_too_early_has_a_gap_at_its_end(history: History) -> None:
    verdict = history.verify(end=history.records + 7, newest=None)
    assert (verdict.gaps, verdict.lost) == (7, 0)


def test_a_chunk_is_all_that_is_held_at_a_time() -> None:
    peaks = []
    for laps in (3, 12):
        log = log_of(per_poll=500)
        log.records[0] = [record for _ in range(laps) for record in log.records[0]]
        tracemalloc.start()
        verdict = History(log).verify(newest=None, chunk=1_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (verdict.events, verdict.lost) == (len(log.records[0]), sum(verdict.rows.values()))
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_every_chunk_is_asked_for_once_and_none_overlaps(history: History) -> None:
    history.verify(chunk=250)
    asked = [span for table, *span in history.served.asked if table == "trades"]
    assert (asked[0][0], asked[-1][1]) == (0, history.records)
    assert [end for _, end in asked[:-1]] == [first for first, _ in asked[1:]]
    assert max(end - first for first, end in asked) <= 250 + 97


def test_scores_of_a_model_that_changed_at_a_restart_are_computed_by_the_one_that_was_live(whole: History) -> None:
    models = {"m1": ConstantModel(0.6, "m1"), "m2": ConstantModel(0.7, "m2")}
    history = History(whole.log, models=dict(models), scored_by=((0, "m1"), (700, "m2"))).serve()
    assert {row["onnx"] for row in history.served.tables["outcomes"]} == {0.6, 0.7}
    assert history.verify().clean
    rows = history.served.tables["predictions"]
    rows[-1]["onnx"] = rows[0]["onnx"]
    assert history.verify().wrong == 1


def test_scores_of_a_model_that_is_gone_are_counted_as_not_compared_and_the_rest_still_is(whole: History) -> None:
    models = {"m1": ConstantModel(0.6, "m1"), "m2": ConstantModel(0.7, "m2")}
    history = History(whole.log, models=dict(models), scored_by=((0, "m1"), (700, "m2"))).serve()
    del history.models["m1"]
    verdict = history.verify(newest=None)
    old = [row for row in history.served.tables["predictions"] if row["src_offset"] < 700]
    parked = [row for row in history.served.tables["outcomes"] if row["predicted_offset"] < 700]
    assert verdict.clean
    assert {(table, column): n for (table, column, _), n in verdict.not_compared.items()} == {
        ("predictions", "onnx"): len(old), ("predictions", "p_up"): len(old), ("outcomes", "onnx"): len(parked),
            ("outcome_scores", "score"): sum(row["model_id"] == "m1" for row in history.served.tables["outcome_scores"]),
            ("alerts", "id"): sum(row["rule"] == "s" for row in history.served.tables["alerts"]),
    }  # fmt: skip
    assert all("m1" in why for _, _, why in verdict.not_compared)
    old[3]["online"] = flipped(float(old[3]["online"]))
    assert history.verify(newest=None).wrong == 1


def test_a_row_that_names_another_model_amid_its_neighbours_is_wrong(history: History) -> None:
    rows = history.served.tables["predictions"]
    rows[middle(rows)]["onnx_id"] = "mlp-0123456789ab"
    verdict = history.verify()
    assert (verdict.wrong, verdict.findings[0].column) == (1, "onnx_id")


def test_rows_of_other_features_are_counted_as_not_compared(history: History) -> None:
    rows = history.served.tables["predictions"]
    until = rows[middle(rows)]["src_offset"]
    for row in rows:
        if row["src_offset"] < until:
            row |= {"features_id": "older", "online": 0.1}
    for row in history.served.tables["ledger"]:
        if row["src_offset"] < until:
            row |= {"features_id": "older", "features_hash": np.uint64(1)}
    for row in history.served.tables["features"]:
        if row["src_offset"] < until:
            row["spread"] = 7.0
    verdict = history.verify(newest=None)
    assert verdict.clean
    assert sum(n for (table, _, _), n in verdict.not_compared.items() if table == "features") > 0
    history.served.tables["features"][0]["symbol"] = "OTHER"
    assert history.verify(newest=None).wrong == 1


def test_scores_on_another_provider_may_differ_a_little_and_no_more(whole: History) -> None:
    models = {"m1": ConstantModel(0.6, "m1")}
    history = History(whole.log, models=models, scored_by=((0, "m1"),)).serve()  # type: ignore[arg-type]
    for row in history.served.tables["predictions"]:
        row |= {"onnx": row["onnx"] + 5e-6, "p_up": row["p_up"] + 5e-6}
    assert history.verify(newest=None).wrong == len(history.served.tables["predictions"])
    assert history.verify(newest=None, tolerance=1e-5).clean
    history.served.tables["predictions"][0]["onnx"] += 1e-4
    assert history.verify(newest=None, tolerance=1e-5).wrong == 1

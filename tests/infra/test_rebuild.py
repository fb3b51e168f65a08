"""`tickwire rebuild`: the state is folded again, from the topic and from ClickHouse, and nothing is said twice."""

import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.embedded.services import Embedded
from infra.recovery import PART
from processors.features import FEATURE_NAMES
from processors.snapshot import decode_snapshot, encode_snapshot
from schemas.tables import tables
from schemas.topics import BARS, OUTCOMES, PREDICTIONS
from tests.logs import START, market
from tests.services.apache_kafka import ApacheKafka
from tests.services.processes import until
from tests.services.scoring import UP_WITHIN_S, Scoring, bars_of, folded, scoring, served

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
N = 5_000


@pytest.fixture
def deployment(embedded: Embedded, tmp_path: Path) -> Iterator[Scoring]:
    with scoring(embedded.as_dict(), tmp_path / "data", market(N)) as found:
        yield found


def later(n: int) -> list:  # type: ignore[type-arg]
    """More of the same market: other symbols' numbers, a later time."""
    return market(n, seed=8, start=START + 400 * 10**9)


def scored(deployment: Scoring) -> None:
    """Score what is on the log, and stop."""
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)


def assert_served_is(deployment: Scoring, outputs: list) -> None:  # type: ignore[type-arg]
    assert served(deployment) == folded(outputs)
    bars = deployment.rows(
        "SELECT src_partition, src_offset, start, open, high, low, close, volume, value FROM bars WHERE reason = 'closed'"
    )
    assert sorted(bars) == bars_of(outputs)
    assert deployment.rows(
        "SELECT count() > 20, count() = uniqExact(symbol, kind, start, rev) FROM bars WHERE rev > 0"
    ) == [(1, 1)]
    assert sorted(deployment.said_on(PREDICTIONS)) == sorted(folded(outputs))
    for topic, table in ((BARS, "bars"), (OUTCOMES, "outcomes")):
        stored = deployment.rows(f"SELECT src_partition, src_offset FROM {table}")
        assert sorted(deployment.said_on(topic)) == sorted(stored), topic.name


def test_what_follows_a_rebuild_is_what_an_undisturbed_process_says(deployment: Scoring) -> None:
    scored(deployment)
    shutil.rmtree(deployment.recovery)
    report = deployment.rebuilt()
    assert (report["records"], report["archived"], report["lost"]) == (report["records"], 0, [])
    deployment.write(later(2_000))
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
    assert_served_is(deployment, outputs)
    verified = deployment.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def assert_comes_from_clickhouse(deployment: Scoring) -> None:
    scored(deployment)
    deployment.write(later(1_000))
    polls = deployment.polls()
    deployment.forget_topic(keep=1_050)
    shutil.rmtree(deployment.recovery)
    report = deployment.rebuilt()
    assert report["archived"] > N // 2
    assert report["records"] == sum(len(poll.offsets) for poll in polls)
    assert report["lost"] == []
    deployment.write(market(1_000, seed=9, start=START + 900 * 10**9))
    outputs = deployment.oracle(deployment.polls(polls))
    with deployment.running():
        deployment.until_folded(outputs)
    assert_served_is(deployment, outputs)


def test_what_the_topic_no_longer_has_comes_from_clickhouse(deployment: Scoring) -> None:
    assert_comes_from_clickhouse(deployment)


@pytest.mark.kafka
def test_on_apache_kafka_too(embedded: Embedded, apache_kafka: ApacheKafka, tmp_path: Path) -> None:
    services = embedded.as_dict() | {"kafka": apache_kafka.bootstrap}
    with scoring(services, tmp_path / "data", market(N)) as deployment:
        assert_comes_from_clickhouse(deployment)


def test_a_torn_state_of_river_is_refused_by_name_and_a_rebuild_reaches_equal_predictions(deployment: Scoring) -> None:
    scored(deployment)
    part = deployment.recovery / PART
    tear_learners(part)
    refused = deployment.command("score")
    assert refused.returncode == 1
    assert f"{part}, partition 0000" in refused.stderr
    assert "torn or altered" in refused.stderr
    deployment.rebuilt()
    deployment.write(later(2_000))
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
    assert max(output.scores.steps.max(initial=0) for output in outputs) > 0
    assert_served_is(deployment, outputs)


def tear_learners(part: Path) -> None:
    """Cut the state of River short in every snapshot."""
    with closing(sqlite3.connect(part)) as database, database:
        for row, raw in database.execute(
            "SELECT rowid, ser_change FROM snaps WHERE step_id LIKE '%advance%'"
        ).fetchall():
            remembered = decode_snapshot(pickle.loads(raw))
            remembered.learner = remembered.learner[:-9]
            torn = pickle.dumps(encode_snapshot(remembered))
            database.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (torn, row))


def test_a_row_that_is_missing_where_the_topic_has_nothing_is_told_and_refused(deployment: Scoring) -> None:
    scored(deployment)
    deployment.forget_topic(keep=10)
    ((partition, offset),) = deployment.rows(
        "SELECT src_partition, src_offset FROM quotes ORDER BY 2 LIMIT 1 OFFSET 40"
    )
    deployment.delete("quotes", f"src_partition = {partition} AND src_offset = {offset}")
    refused = deployment.command("rebuild", "--no-live")
    assert refused.returncode == 1
    assert f"partition {partition}: expected a row of every record" in refused.stderr
    assert f"none of 1 (offsets {offset}-{offset})" in refused.stderr
    assert deployment.rebuilt("--accept-loss")["lost"] == [[partition, offset, offset + 1]]


def test_an_end_that_clickhouse_has_lost_is_refused_and_a_rebuild_stores_it_again(deployment: Scoring) -> None:
    scored(deployment)
    for table in (each.name for each in tables(FEATURE_NAMES)):
        deployment.delete(table, f"src_partition = 1 AND src_offset >= {1_000 if table == 'trades' else 990}")
    refused = deployment.command("score")
    assert refused.returncode == 1
    assert "[1]: expected the state that scoring goes on from, found one that has folded every record" in refused.stderr
    assert "rows of those below" in refused.stderr
    assert "tickwire rebuild" in refused.stderr
    deployment.rebuilt()
    deployment.write(later(500))
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
    assert_served_is(deployment, outputs)


def test_state_that_is_gone_is_refused_by_name_and_a_changed_computation_rebuilds_quietly(deployment: Scoring) -> None:
    scored(deployment)
    before = sorted(deployment.said_on(PREDICTIONS))
    gone = deployment.recovery
    aside = gone.with_name("aside")
    gone.rename(aside)
    refused = deployment.command("score")
    assert refused.returncode == 1
    assert f"{gone}: expected the state that scoring goes on from, found nothing" in refused.stderr
    assert "tickwire rebuild" in refused.stderr
    aside.rename(gone)
    deployment.write(later(1_000))
    changed = deployment.oracle(learn_every=64)
    with deployment.running(TICKWIRE_FOLD__LEARN_EVERY="64"):
        deployment.until_folded(changed)
    after = deployment.said_on(PREDICTIONS)
    assert len(after) == len(set(after)) == len(folded(changed))
    assert set(before) < set(after)
    new = set(after) - set(before)
    assert {at: row for at, row in served(deployment).items() if at in new} == {
        at: row for at, row in folded(changed).items() if at in new
    }


def test_a_rebuild_that_is_killed_leaves_the_state_as_it_was_and_is_simply_run_again(deployment: Scoring) -> None:
    scored(deployment)
    there = {path.name: path.read_bytes() for path in deployment.recovery.iterdir()}
    killed = deployment.command("rebuild", "--no-live", FP="rebuild.midway:kill@2")
    assert killed.returncode == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in deployment.recovery.iterdir()} == there
    deployment.rebuilt()
    deployment.write(later(500))
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
    assert_served_is(deployment, outputs)


def test_the_state_of_the_former_computation_stays_until_the_new_one_is_whole(deployment: Scoring) -> None:
    scored(deployment)
    former = deployment.recovery
    there = {path.name: path.read_bytes() for path in former.iterdir()}
    killed = deployment.command("score", FP="rebuild.midway:kill@2", TICKWIRE_FOLD__LEARN_EVERY="64")
    assert killed.returncode == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in former.iterdir()} == there
    deployment.write(later(10))
    changed = deployment.oracle(learn_every=64)
    with deployment.running(TICKWIRE_FOLD__LEARN_EVERY="64"):
        until("the new state", lambda: not former.exists(), within_s=UP_WITHIN_S)
        deployment.until_folded(changed)
    assert deployment.recovery != former


def test_it_is_refused_while_the_scoring_process_runs(deployment: Scoring) -> None:
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
        refused = deployment.command("rebuild", "--no-live")
    assert refused.returncode == 75
    assert "two writers of one partition would race" in refused.stderr


def test_after_a_rebuild_a_kill_goes_on_from_what_bytewax_had_and_from_the_seed_elsewhere(deployment: Scoring) -> None:
    scored(deployment)
    deployment.rebuilt()
    for seed in (3, 4):
        deployment.write(market(400, seed=seed, start=START + seed * 1000 * 10**9))
        outputs = deployment.oracle()
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "score"],
            env=deployment.environment(), cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deployment.until_folded(outputs)
        process.kill()
        process.wait(10)
    assert served(deployment) == folded(deployment.oracle())

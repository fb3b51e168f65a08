"""Rows 12 and 13 of the fault matrix: a ClickHouse whose disk is full waits and goes on; one that lets nobody write stops us."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.embedded import clickhouse
from tests.faults.matrix.disks import filled, on_small_disk
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import MIB, Services, Stage, stays
from tests.faults.proxy import ChaosProxy
from tests.services.processes import HOST, Program, free_ports, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(180)]
DISK_MIB = 192


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[Program, int, Path]]:
    """A ClickHouse of this test's own on a small disk, its port and its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (port,) = free_ports(1)
    command = on_small_disk(clickhouse.command(folder / "clickhouse", port), folder, DISK_MIB)
    program = Program(command, tmp_path / "engine.log", env=dict(os.environ))
    program.start()
    program.await_ready(lambda: clickhouse.answers(port), within_s=30)
    yield program, port, folder
    program.stop(grace_s=30)


@pytest.fixture
def small(services: Services, engine: tuple[Program, int, Path], tmp_path: Path) -> Iterator[Stage]:
    """A history on that small disk."""
    _, port, _ = engine
    with ChaosProxy(port) as proxy:
        embedded = replace(services.embedded, clickhouse_url=f"http://{HOST}:{port}")
        made = Stage(replace(services, embedded=embedded, clickhouse=proxy), tmp_path)
        yield made
        made.close()


def test_a_full_disk_is_waited_out_and_said_while_reads_go_on(small: Stage, engine: tuple[Program, int, Path]) -> None:
    program, _, folder = engine
    market = Market(seed=19)
    with small.scores() as scoring:
        small.write(market.more(2_000))
        small.exact()
        stored = small.count("predictions")
        with filled(program, folder):
            small.write(market.more(6_000))
            until(
                "a metric that says so",
                lambda: scoring.metric("clickhouse_waiting", reason="disk_full") == 1,
                within_s=60,
            )
            rss = scoring.rss()
            stays("waiting", lambda: scoring.alive() and scoring.rss() < rss + 50 * MIB, 3)
            assert small.count("predictions") >= stored, "reads work"
        small.exact()
        until("a metric that says so", lambda: scoring.metric("clickhouse_waiting") == 0, within_s=60)


def test_a_table_that_is_read_only_stops_scoring_with_a_clear_error_and_no_offset_is_passed(stage: Stage) -> None:
    market = Market(seed=23)
    with stage.scores() as scoring:
        stage.write(market.more(1_000))
        stage.exact()
        stage.database.command(f"ALTER TABLE {stage.history}.predictions MODIFY SETTING table_readonly = 1")
        stage.write(market.more(1_000))
        assert scoring.code(30) == 1
        assert f"INSERT INTO `{stage.history}`.`predictions`" in scoring.said()
        assert "read" in scoring.said().lower()
    stage.database.command(f"ALTER TABLE {stage.history}.predictions MODIFY SETTING table_readonly = 0")
    with stage.scores():
        stage.exact()

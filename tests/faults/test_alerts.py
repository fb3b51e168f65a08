"""A loss that is planted is told within a minute: the auditor of the real scoring process, a real Prometheus, our rules."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

from infra.cli.main import app
from infra.clickhouse import Database, connect
from infra.embedded.services import embedded_services
from infra.instance import at, environment
from infra.settings import Settings
from infra.telemetry import METRICS
from tests.product.running import ROOT
from tests.services.processes import Program, free_ports, until
from tests.services.prometheus import RULES, Prometheus, prometheus, promtool

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
WITHIN_S = 60.0
OF_HISTORY = {"TickwireRecordsNotCounted", "TickwireRowsMissing", "TickwireRowsDoubled", "TickwireNotAudited"}


@dataclass(frozen=True)
class Watched:
    """A scoring process that has folded some seconds of the simulated exchange, and a Prometheus that scrapes it."""

    database: Database
    prometheus: Prometheus

    def history_alerts(self) -> set[str]:
        return OF_HISTORY & set(dict(self.prometheus.firing()))


@contextmanager
def watched(folder: Path, module: str) -> Iterator[Watched]:
    """`module`: what is run as the command line."""
    (port,) = free_ports(1)
    with embedded_services(folder / "data") as services:
        settings = at(Settings(data=folder / "data"), services.as_dict())
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
        env = {**plain, **environment(settings), "PYTHONPATH": str(ROOT)}

        def command(name: str, *arguments: str, run: str = "infra.cli") -> Program:
            return Program([sys.executable, "-m", run, *arguments], folder / f"{name}.log", env=env)

        score = command("score", "score", "--metrics-port", str(port), run=module)
        sim = command("sim", "sim", "--rate", "400", "--seed", "3")
        database = connect(f"{services.clickhouse_url}/tickwire", timeout_s=30)
        score.start()
        sim.start()
        try:
            with prometheus(folder / "prometheus", port) as watching:
                found = Watched(database, watching)
                until("audited rows", lambda: _rows(found) > 2_000, within_s=90, every_s=0.3)
                yield found
        finally:
            sim.stop()
            score.stop()
            database.close()


def _rows(found: Watched) -> int:
    """Folded since the auditor's first round; 0 before it."""
    audited = found.prometheus.value("tickwire_audit_checked_timestamp_seconds > 0")
    return 0 if audited is None else int(found.database.rows("SELECT count() FROM features").rows[0][0])


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("alerts"), "infra.cli") as found:
        yield found


def test_nothing_is_told_while_everything_adds_up(honest: Watched) -> None:
    assert honest.prometheus.value("sum(tickwire_score_events_total) > 2000") is not None
    assert honest.prometheus.value("max(abs(tickwire_score_ledger_mismatch_records))") == 0
    for table in ("features", "predictions", "events", "dead_letters"):
        assert honest.prometheus.value(f'tickwire_audit_missing_rows{{table="{table}"}}') == 0
        assert honest.prometheus.value(f'tickwire_audit_extra_rows{{table="{table}"}}') == 0
    assert honest.history_alerts() == set()


def test_rows_deleted_and_doubled_are_told_within_a_minute(honest: Watched) -> None:
    began = time.monotonic()
    for table in ("features", "trades"):
        ((partition, offset),) = honest.database.rows(
            f"SELECT src_partition, quantileExact(src_offset) FROM {table} GROUP BY 1 ORDER BY count() DESC LIMIT 1"
        ).rows
        where = f"src_partition = {partition} AND src_offset = {offset}"
        honest.database.command(f"DELETE FROM {table} WHERE {where} SETTINGS mutations_sync = 1")
    honest.database.command("SYSTEM STOP MERGES predictions")
    honest.database.command("INSERT INTO predictions SELECT * FROM predictions LIMIT 1")
    planted = {
        ("TickwireRowsMissing", "features"),
        ("TickwireRowsMissing", "events"),
        ("TickwireRowsDoubled", "predictions"),
    }
    try:
        for alert in sorted(planted):
            until(f"{alert} firing", lambda alert=alert: alert in honest.prometheus.firing(), within_s=WITHIN_S)  # type: ignore[misc]
            print(f"{alert} was told {time.monotonic() - began:.1f} s after the first row was deleted")
    finally:
        honest.database.command("SYSTEM START MERGES predictions")
    assert time.monotonic() - began < WITHIN_S
    assert {about for about in honest.prometheus.firing() if about[0] in OF_HISTORY} == planted


def test_a_record_that_was_never_folded_is_told_within_a_minute(tmp_path: Path) -> None:
    with watched(tmp_path, "tests.faults.skipping") as found:
        until("the alert", lambda: "TickwireRecordsNotCounted" in found.history_alerts(), within_s=WITHIN_S)
        told = [about for about in found.prometheus.firing() if about[0] == "TickwireRecordsNotCounted"]
        assert len(told) == 1
        assert found.prometheus.value("sum(tickwire_score_ledger_mismatch_records)") == 1


def test_the_rules_are_in_order() -> None:
    checked = promtool("check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = promtool("check", "config", str(RULES.with_name("prometheus.yml")))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_rule_asks_for_a_metric_that_we_export_and_a_command_that_there_is() -> None:
    text = RULES.read_text()
    asked = set(re.findall(r"tickwire_[a-z_]+", text))
    assert asked
    assert asked <= METRICS.keys()
    named = set(re.findall(r"tickwire ([a-z]+) (?:tells|folds|where)", text))
    assert named
    assert named <= get_command(app).commands.keys()  # type: ignore[attr-defined]

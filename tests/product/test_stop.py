"""SIGTERM ends the scoring process within five seconds while its services hang, and nothing is lost or half said."""

import os
import signal
from pathlib import Path
from time import monotonic, sleep

import pytest

from infra.embedded.instance import read_run_state
from tests.product.running import Product, json_lines, running
from tests.product.test_kill import TRADES, recording
from tests.services.processes import until

KEPT = ("aaa", "ddd")
BARS_AND_THEIR_TRADES = """
SELECT count(), countIf(said.n_trades != made.n) FROM
  (SELECT symbol, start, n_trades FROM bars WHERE kind = '1s' AND rev = 0) AS said
  INNER JOIN (SELECT symbol, toStartOfSecond(ts_event) AS start, count() AS n FROM trades WHERE NOT late GROUP BY 1, 2) AS made
  USING (symbol, start)
"""
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]


def pid_of(product: Product, name: str) -> int:
    state = read_run_state(product.data)
    assert state is not None
    (pid,) = [service.pid for service in state.services if service.name == name]
    return pid


def scores(product: Product, before: int) -> bool:
    """Whether another scoring process has come up."""
    state = read_run_state(product.data)
    return state is not None and any(each.name == "score" and each.pid != before for each in state.services)


def of_day(folder: Path, day: int) -> Path:
    """Two symbols of the recording, as if it were of another day of October 2013."""
    for path in sorted(recording(folder).glob("*/20131007_trade.csv")):
        if path.parent.name in KEPT:
            path.rename(path.with_name(f"2013100{day}_trade.csv"))
        else:
            path.unlink()
    return folder


def ended(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_service_that_hangs_does_not_keep_the_scoring_process(tmp_path: Path) -> None:
    expected = TRADES * len(KEPT)
    with running(tmp_path / "data", "none") as product:
        for day, hanging in ((7, "clickhouse"), (8, "redis"), (9, "kafka")):
            folder = of_day(tmp_path / str(day) / "equity" / "usa" / "tick", day)
            (told,) = json_lines(product.tickwire("play", str(folder), "--speed", "max", "--json"))
            assert told["events"]["trade"] == expected
            scoring, service = pid_of(product, "score"), pid_of(product, hanging)
            os.kill(service, signal.SIGSTOP)
            try:
                sleep(0.5)  # into whatever it waits for now
                began = monotonic()
                os.kill(scoring, signal.SIGTERM)
                until("the scoring process to end", lambda pid=scoring: ended(pid), within_s=20, every_s=0.01)  # type: ignore[misc]
                assert monotonic() - began < 5, hanging
            finally:
                os.kill(service, signal.SIGCONT)
            until("another one", lambda pid=scoring: scores(product, pid), within_s=60)  # type: ignore[misc]
        product.until("SELECT uniqExact(src_partition, src_offset) FROM trades", 3 * expected, within_s=180)
        assert product.rows("SELECT count() FROM trades") == [(3 * expected,)]
        bars, differ = product.rows(BARS_AND_THEIR_TRADES)[0]
        assert bars > 100
        assert differ == 0, "a bar was closed before its last trade"

"""`tickwire up --rebuild` after the recovery directory was deleted: the whole product goes on, and verifies."""

import shutil
from pathlib import Path

import pytest

from infra.recovery import request_path
from tests.product.running import running
from tests.product.test_kill import SYMBOLS, TRADES, recording

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(290)]


def test_a_deleted_recovery_directory_is_rebuilt_and_what_was_served_stays(tmp_path: Path) -> None:
    data, expected = tmp_path / "data", TRADES * len(SYMBOLS)
    counted = "SELECT count() FROM predictions"
    with running(data, "none") as product:
        product.tickwire("play", str(recording(tmp_path / "equity" / "usa" / "tick")), "--speed", "max")
        product.until(counted, expected, within_s=180)
        product.until("SELECT count() FROM features", expected)
        before = product.rows("SELECT sum(cityHash64(*)) FROM predictions")
    for path in (data / "recovery").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with running(data, "none", "--rebuild") as product:
        assert not request_path(data).exists()
        assert "rebuilt" in (data / "logs" / "score.log").read_text()
        assert product.rows("SELECT sum(cityHash64(*)) FROM predictions") == before
        product.tickwire("verify", timeout_s=200)

"""`tickwire up --rebuild` after the recovery directory was deleted: the whole product goes on, and verifies."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from infra.recovery import request_path
from tests.product.running import running

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(290)]
SYMBOLS = ("aaa", "bbb", "ccc")
TRADES = 2_000
"""Of each symbol."""


def recording(folder: Path) -> Path:
    rng = np.random.default_rng(5)
    for symbol in SYMBOLS:
        (folder / symbol).mkdir(parents=True)
        at = 34_200_000 + np.sort(rng.integers(0, 3_000_000, TRADES))
        price = 1_000_000 + np.cumsum(rng.integers(-300, 301, TRADES))
        rows = [f"{t},{p},{s},P,1,0" for t, p, s in zip(at, price, rng.integers(1, 900, TRADES), strict=True)]
        (folder / symbol / "20131007_trade.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_deleted_recovery_directory_is_rebuilt_and_what_was_served_stays(tmp_path: Path) -> None:
    data, expected = tmp_path / "data", TRADES * len(SYMBOLS)
    with running(data, "none") as product:
        product.tickwire("play", str(recording(tmp_path / "equity" / "usa" / "tick")), "--speed", "max")
        for table in ("predictions", "features"):
            product.until(f"SELECT count() FROM {table}", expected, within_s=180)
        before = product.rows("SELECT sum(cityHash64(*)) FROM predictions")
    for path in (data / "recovery").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with running(data, "none", "--rebuild") as product:
        assert not request_path(data).exists()
        assert "rebuilt" in (data / "logs" / "score.log").read_text()
        assert product.rows("SELECT sum(cityHash64(*)) FROM predictions") == before
        product.tickwire("verify", timeout_s=200)

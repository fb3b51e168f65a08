"""kill -9 of the scoring process while it works: nothing lost, nothing twice, the same bits as without."""

import hashlib
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from infra.embedded.instance import read_run_state
from processors.features import FEATURE_NAMES
from tests.product.running import Product, json_lines, running

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]
KILLS = 4
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
TRADES = 25_000
"""Of each symbol."""


def recording(folder: Path) -> Path:
    rng = np.random.default_rng(5)
    for symbol in SYMBOLS:
        (folder / symbol.lower()).mkdir(parents=True)
        at = 34_200_000 + np.sort(rng.integers(0, 20_000_000, TRADES))
        price = 1_000_000 + np.cumsum(rng.integers(-300, 301, TRADES))
        rows = [f"{t},{p},{s},P,1,0" for t, p, s in zip(at, price, rng.integers(1, 900, TRADES), strict=True)]
        (folder / symbol.lower() / "20131007_trade.csv").write_text("\n".join(rows) + "\n")
    return folder


def kill_scoring(product: Product) -> None:
    state = read_run_state(product.data)
    assert state is not None
    (pid,) = [service.pid for service in state.services if service.name == "score"]
    os.kill(pid, signal.SIGKILL)


def bits(product: Product) -> str:
    """Of all features and online scores in the order of the log."""
    columns = ", ".join(f"reinterpretAsUInt64({name})" for name in FEATURE_NAMES)
    features = product.rows(f"SELECT src_partition, src_offset, sipHash128({columns}) FROM features ORDER BY 1, 2")
    scores = product.rows(
        "SELECT src_partition, src_offset, reinterpretAsUInt64(assumeNotNull(online)) FROM predictions ORDER BY 1, 2"
    )
    return hashlib.sha256(repr((features, scores)).encode()).hexdigest()


def played(folder: Path, data: Path, kills: int) -> str:
    expected = TRADES * len(SYMBOLS)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the kills: {seed}")
    moments = random.Random(seed)
    with running(data, "none") as product:
        (told,) = json_lines(product.tickwire("play", str(folder), "--speed", "max", "--json"))
        assert told["events"]["trade"] == expected
        for _ in range(kills):
            time.sleep(moments.uniform(1.0, 4.0))
            kill_scoring(product)
        for table in ("trades", "features", "predictions"):
            product.until(f"SELECT count() FROM {table}", expected, within_s=180)
            assert product.rows(f"SELECT uniqExact(src_partition, src_offset) FROM {table}") == [(expected,)], table
        return bits(product)


def test_killed_at_random_moments_the_history_is_the_one_of_an_undisturbed_run(tmp_path: Path) -> None:
    folder = recording(tmp_path / "equity" / "usa" / "tick")
    assert played(folder, tmp_path / "killed", KILLS) == played(folder, tmp_path / "whole", 0)

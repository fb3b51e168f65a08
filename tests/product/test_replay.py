"""`tickwire replay` beside a live product: the same bits at every speed, in tables of its own, and live not disturbed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from infra.kafka_log import end_offsets
from infra.settings import Kafka
from tests.product.running import Product, json_lines, running
from tests.services.processes import Program, free_ports, listens

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
TRADES = 3_000
"""Of each symbol, within eighteen seconds, played in nine."""
EVENTS = TRADES * len(SYMBOLS)


def recording(folder: Path) -> Path:
    """LEAN equity ticks of four symbols, made here."""
    rng = np.random.default_rng(8)
    for symbol in SYMBOLS:
        (folder / symbol.lower()).mkdir(parents=True)
        at = 34_200_000 + np.sort(rng.integers(0, 18_000, TRADES))
        price = 1_000_000 + np.cumsum(rng.integers(-300, 301, TRADES))
        rows = [f"{t},{p},{s},P,1,0" for t, p, s in zip(at, price, rng.integers(1, 900, TRADES), strict=True)]
        (folder / symbol.lower() / "20131007_trade.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that has heard some seconds of trades, with gaps between them."""
    folder = tmp_path_factory.mktemp("replay")
    with running(folder / "data", "none") as product:
        product.tickwire("play", str(recording(folder / "equity" / "usa" / "tick")), "--speed", "2", "--json")
        product.until("SELECT count() FROM predictions", EVENTS)
        yield product


def replayed(product: Product, name: str, *options: str) -> dict[str, Any]:
    (told,) = json_lines(product.tickwire("replay", "--into", name, "--json", *options))
    return dict(told)


def test_every_speed_gives_the_hash_of_live(product: Product) -> None:
    found = {speed: replayed(product, f"at_{speed}", "--speed", speed) for speed in ("1", "10", "max")}
    assert len({told["hash"] for told in found.values()} | {told["live_hash"] for told in found.values()}) == 1, [
        (told["hash"][:8], told["live_hash"][:8], told["differs"], told["rows"], told["seconds"])
        for told in found.values()
    ]
    assert all(told["differs"] == [] and told["rows"]["predictions"] == EVENTS for told in found.values())
    assert all(told["rows"]["outcomes"] > 0 and told["rows"]["bars"] > 0 for told in found.values())
    assert found["1"]["seconds"] > 8 > found["10"]["seconds"]


def test_a_changed_live_row_changes_the_hash_and_names_the_table(product: Product) -> None:
    whole = replayed(product, "whole")
    ((partition, offset),) = product.rows("SELECT src_partition, max(src_offset) FROM features GROUP BY 1 LIMIT 1")
    where = f"src_partition = {partition} AND src_offset = {offset}"
    copy = "INSERT INTO features SELECT * REPLACE (spread + 1 AS spread, toFloat64(0.5) AS rsi_14m) FROM features"
    product.command(f"{copy} WHERE {where}")
    try:
        spoiled = replayed(product, "spoiled")
    finally:
        product.command(f"DELETE FROM features WHERE {where} AND rsi_14m = 0.5 SETTINGS mutations_sync = 1")
    assert spoiled["hash"] == whole["hash"] == whole["live_hash"] != spoiled["live_hash"]
    assert spoiled["differs"] == ["features"]


def test_a_replay_writes_nothing_into_the_live_tables_or_topics(product: Product) -> None:
    before = product.rows("SELECT count() FROM predictions"), _records(product, "signals.predictions.v1")
    replayed(product, "aside")
    assert (product.rows("SELECT count() FROM predictions"), _records(product, "signals.predictions.v1")) == before
    assert product.rows("SELECT count() FROM tickwire_replay_aside.predictions") == [(EVENTS,)]


def _records(product: Product, topic: str) -> int:
    told = json_lines(product.tickwire("topics", "--json"))[0]
    return int(next(each["records"] for each in told if each["topic"] == topic))


def test_a_name_that_is_taken_is_refused_until_it_is_replaced_or_dropped(product: Product) -> None:
    replayed(product, "taken")
    assert "--replace" in product.refused("replay", "--into", "taken", "--json")
    replayed(product, "taken", "--replace")
    assert "taken" in json_lines(product.tickwire("replay", "--list", "--json"))[0]
    product.tickwire("replay", "--drop", "taken")
    assert "taken" not in json_lines(product.tickwire("replay", "--list", "--json"))[0]
    assert "no replay of this name" in product.refused("replay", "--drop", "taken")


def test_a_stretch_is_what_from_and_to_say(product: Product) -> None:
    ((partition, end),) = product.rows(
        "SELECT src_partition, max(src_offset) + 1 AS end FROM trades GROUP BY 1 LIMIT 1"
    )
    told = replayed(product, "part", "--from", f"{partition}:10", "--to", f"{partition}:{end - 10}")
    assert told["spans"] == [[partition, 10, end - 10]]
    assert told["live_hash"] is None
    assert sum(told["doors"].values()) == told["records"] == end - 20
    assert "which the broker holds" in product.refused("replay", "--into", "far", "--to", f"{partition}:99999999")
    late = replayed(product, "nothing", "--from", "2999-01-01T00:00:00Z")
    assert late["records"] == 0


def test_with_topics_it_speaks_under_its_own_name(product: Product) -> None:
    replayed(product, "spoken", "--topics")
    kafka = Kafka(bootstrap=product.addresses["kafka"])
    ends = end_offsets(kafka, "replay.spoken.signals.predictions.v1")
    assert sum(high for _, high in ends.values()) == EVENTS
    (port,) = free_ports(1)
    env = {**product.env, "TICKWIRE_API__NAMESPACE": "spoken", "TICKWIRE_API__PORT": str(port)}
    api = Program([sys.executable, "-m", "infra.cli", "api"], product.data / "spoken.log", env=env)
    api.start()
    try:
        api.await_ready(lambda: listens(port), within_s=60)
        served = httpx2.get(f"http://127.0.0.1:{port}/v1/predictions/AAA", headers=product.key, timeout=20).json()
        bars = httpx2.get(f"http://127.0.0.1:{port}/v1/bars/AAA?kind=1s", headers=product.key, timeout=20).status_code
    finally:
        api.stop()
    newest = product.rows("SELECT max(src_offset) FROM tickwire_replay_spoken.predictions WHERE symbol = 'AAA'")
    assert [(served["src_offset"],)] == newest
    assert bars == httpx2.codes.OK

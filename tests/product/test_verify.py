"""`tickwire verify` on real recordings: nothing to find, and what is planted in ClickHouse is found.

CI plays one day of IBM; `VERIFY_ALL=1` plays two of SPY, IBM and BAC, which takes minutes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.clickhouse import connect
from tests.product.running import ROOT, Product, json_lines, running

pytestmark = [pytest.mark.embedded, pytest.mark.shared_data, pytest.mark.timeout(3_000)]
ALL = bool(os.environ.get("VERIFY_ALL"))
SYMBOLS = ("spy", "ibm", "bac") if ALL else ("ibm",)
DAYS = ("20131007", "20131008") if ALL else ("20131007",)
ZEROS = {"lost": 0, "duplicate": 0, "wrong": 0, "mismatched_feature_bits": 0, "gaps": 0}


def recordings(shared_data: Path) -> list[str]:
    """Trades and quotes of both days; LEAN's sample has no quote ticks of SPY."""
    names = [
        f"{folder}/lean_usa_tick_{symbol}_{day}_{kind}.csv.gz"
        for folder, kind in (("ticks", "trade"), ("quotes", "quote"))
        for symbol in SYMBOLS
        for day in DAYS
    ]
    return [str(shared_data / name) for name in names if (shared_data / name).exists()]


def verified(product: Product, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "verify", "--json", *arguments], env=dict(product.env), cwd=ROOT,
        capture_output=True, text=True, timeout=1_500, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def counts(answer: dict[str, Any]) -> dict[str, int]:
    return {name: answer[name] for name in ZEROS}


def command(product: Product, sql: str) -> None:
    database = connect(f"{product.addresses['clickhouse_url']}/tickwire", timeout_s=60)
    try:
        database.command(f"{sql} SETTINGS mutations_sync = 2" if sql.startswith("ALTER") else sql)
    finally:
        database.close()


def somewhere(product: Product, table: str, where: str = "1") -> tuple[int, int]:
    """Partition and offset of a row in the middle of the log."""
    found = product.rows(
        f"SELECT src_partition, src_offset FROM {table} WHERE {where} ORDER BY src_partition, src_offset "
        f"LIMIT 1 OFFSET (SELECT intDiv(count(), 2) FROM {table} WHERE {where})"
    )
    return found[0][0], found[0][1]


def at(partition: int, offset: int) -> str:
    return f"src_partition = {partition} AND src_offset = {offset}"


@pytest.fixture(scope="module")
def played(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, dict[str, Any]]]:
    with running(tmp_path_factory.mktemp("verify") / "data", "none") as product:
        files = recordings(shared_data)
        (told,) = json_lines(product.tickwire("play", *files, "--speed", "max", "--json", timeout_s=900))
        yield product, told["events"]


def test_the_recordings_as_they_were_served_have_nothing_to_find(played: tuple[Product, dict[str, Any]]) -> None:
    product, events = played
    code, answer = verified(product, "--kills", "0")
    assert (code, answer["kills"], counts(answer), answer["findings"]) == (0, 0, ZEROS, [])
    assert answer["not_compared"] == []
    assert answer["notes"] == []
    assert answer["events"] == events["trade"] + events["quote"] + 4 * events["heartbeat"]
    assert answer["tables"]["trades"]["rows"] == events["trade"]
    ((stored,),) = product.rows("SELECT count() FROM features")
    assert answer["tables"]["features"]["rows"] == stored > 0.9 * (events["trade"] + events["quote"])
    assert answer["tables"]["redis"]["rows"] == len(SYMBOLS)


def test_one_flipped_bit_one_deleted_row_and_one_doubled_row_are_found(played: tuple[Product, dict[str, Any]]) -> None:
    product, _ = played
    flipped = somewhere(product, "features", "isFinite(volatility_60s)")
    deleted = somewhere(product, "predictions", f"src_offset != {flipped[1]}")
    doubled = somewhere(product, "trades")
    command(
        product,
        "ALTER TABLE features UPDATE volatility_60s = reinterpretAsFloat64(bitXor(reinterpretAsUInt64(volatility_60s), 1)) "
        f"WHERE {at(*flipped)}",
    )
    command(product, f"ALTER TABLE predictions DELETE WHERE {at(*deleted)}")
    command(product, "SYSTEM STOP MERGES trades")  # one would take the doubled row away before anybody looks
    command(product, f"INSERT INTO trades SELECT * FROM trades WHERE {at(*doubled)}")
    code, answer = verified(product)
    assert (code, counts(answer)) == (1, ZEROS | {"mismatched_feature_bits": 1, "lost": 1, "duplicate": 1})
    assert answer["duplicate_final"] == 0
    found = {each["what"]: each for each in answer["findings"]}
    assert (found["differs"]["table"], found["differs"]["column"]) == ("features", "volatility_60s")
    for what, (partition, offset) in (("differs", flipped), ("lost", deleted), ("duplicate", doubled)):
        assert (found[what]["partition"], found[what]["offset"]) == (partition, offset)
    expected, there = (int(found["differs"][name].split("(")[1][:16], 16) for name in ("expected", "found"))
    assert expected ^ there == 1


def test_the_line_for_people_says_the_same(played: tuple[Product, dict[str, Any]]) -> None:
    product, _ = played
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "verify", "--kills", "3"], env=dict(product.env), cwd=ROOT,
        capture_output=True, text=True, timeout=1_500, check=False,
    )  # fmt: skip
    line = dict(word.split("=") for word in done.stdout.splitlines()[0].split())
    expected = dict.fromkeys(ZEROS, "0") | {
        "mismatched_feature_bits": "1",
        "lost": "1",
        "duplicate": "1",
        "kills": "3",
    }
    assert done.returncode == 1
    assert line == expected | {"events": line["events"]}
    assert "the first 3 findings" in done.stdout


def test_a_range_is_judged_and_nothing_beside_it(played: tuple[Product, dict[str, Any]]) -> None:
    product, _ = played
    _, whole = verified(product)
    (flipped,) = [each for each in whole["findings"] if each["what"] == "differs"]
    partition, offset = flipped["partition"], flipped["offset"]
    code, answer = verified(product, "--from", f"{partition}:{offset}", "--to", f"{partition}:{offset + 1}")
    assert (code, answer["events"], answer["mismatched_feature_bits"]) == (1, 1, 1)
    assert answer["ranges"] == {str(partition): [offset, offset + 1]}
    assert verified(product, "--from", f"{partition}:{offset + 1}", "--to", f"{partition}:{offset + 2}")[0] == 0


def test_a_live_system_is_verified_while_it_works(tmp_path: Path) -> None:
    with running(tmp_path / "data", "sim", TICKWIRE_SOURCE__SIM_RATE="400") as product:
        product.until("SELECT count() > 10000 FROM features", 1, within_s=180)
        code, first = verified(product)
        assert (code, counts(first), first["findings"]) == (0, ZEROS, [])
        code, later = verified(product)
        assert (code, counts(later), later["findings"]) == (0, ZEROS, [])
        assert later["events"] > first["events"] > 10_000
        assert first["not_compared"] == later["not_compared"] == []


def test_a_service_that_is_not_there_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "verify"], env={**env, "TICKWIRE_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nothing runs on" in done.stderr

"""The short form of `make faults`: kill -9 at random moments, on the embedded services and on three brokers of Apache Kafka."""

import random

import pytest

from tests.faults.bench import bench
from tests.faults.campaign import Campaign, judge
from tests.faults.run import Order, clean, line, run
from tests.faults.schedule import EMBEDDED, KAFKA3, schedule

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]
RATE = 800.0


@pytest.mark.parametrize("services", ["embedded", pytest.param("kafka3", marks=pytest.mark.kafka)])
def test_killed_again_and_again_nothing_is_lost_doubled_or_wrong(services: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"python -m tests.faults.run --services {services} --kills 10 --seed {seed} --rate {RATE:g}")
    told = run(Order(services, 10, seed, RATE), lambda step, seconds: print(f"{step}: {seconds:.2f} s"))  # type: ignore[arg-type]
    print(line(told))
    assert clean(told), told
    assert told["kills"] == 10
    assert told["events"] > 10_000


PLANTED = (
    ("quotes", "ALTER TABLE quotes DELETE WHERE {one} SETTINGS mutations_sync = 1"),
    ("news", "INSERT INTO news SELECT * FROM news WHERE {one}"),
    ("trades", "ALTER TABLE trades UPDATE price = price + 1 WHERE {one} SETTINGS mutations_sync = 1"),
    ("features", "ALTER TABLE features UPDATE spread = spread + 1e-12 WHERE {one} SETTINGS mutations_sync = 1"),
)


def test_the_checker_sees_what_was_deleted_doubled_and_changed() -> None:
    with bench("embedded", seed=7, rate=RATE) as everything:
        assert Campaign(everything, lambda *_: None).run([]).found.clean
        database = everything.up.database()
        for table, sql in PLANTED:
            known = " AND isFinite(spread)" if table == "features" else ""
            ((partition, offset),) = database.rows(
                f"SELECT src_partition, src_offset FROM {table} WHERE src_offset > 20{known} LIMIT 1"
            ).rows
            database.command(sql.replace("{one}", f"src_partition = {partition} AND src_offset = {offset}"))
        database.close()
        found = judge(everything)
        assert (found.lost, found.duplicate, found.wrong, found.mismatched_feature_bits) == (1, 1, 1, 1), found


def test_a_schedule_is_its_seed() -> None:
    assert schedule(1, 200, KAFKA3, 3) == schedule(1, 200, KAFKA3, 3) != schedule(2, 200, KAFKA3, 3)
    steps = schedule(3, 200, EMBEDDED)
    assert sum(step.kills for step in steps) == 200
    assert {victim for step in steps for victim in step.victims} == {
        "score", "api", "news", "clickhouse", "redis", "generator",
    }  # fmt: skip

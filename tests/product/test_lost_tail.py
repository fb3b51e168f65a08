"""kill -9 of the embedded broker under load: it forgets what it acknowledged last, and nothing new is skipped for that."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.embedded.instance import read_run_state
from infra.log_identity import LogIdentity, read_logs
from infra.settings import Kafka
from schemas.rules import Condition, Rule
from schemas.topics import EVENTS
from streams.archive import ARCHIVE
from tests.product.running import Product, running

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(900)]
RULE = Rule(id="falls", conditions=(Condition(field="mid", op="<", threshold=0.5, hysteresis=0.1),), owner="desk")
FEW = {"TICKWIRE_MODELS__HISTORY": "20", "TICKWIRE_SOURCE__SIM_RATE": "300"}
Place: TypeAlias = tuple[str, int, int]
"""(log id, partition, offset)"""


def logs(product: Product) -> list[LogIdentity]:
    return read_logs(product.data / "kafka" / "logs.json")


def pid_of(product: Product, name: str) -> int:
    state = read_run_state(product.data)
    assert state is not None
    (pid,) = [service.pid for service in state.services if service.name == name]
    return pid


def on_the_broker(product: Product) -> dict[Place, tuple[str, str, int]]:
    """Every record that is there now: its place to (venue, symbol, seq)."""
    known, found = logs(product), {}
    kafka = Kafka(bootstrap=product.addresses["kafka"])
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "check", "auto.offset.reset": "error"})
    try:
        for partition in range(kafka.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(EVENTS.name, partition), timeout=15)
            consumer.assign([TopicPartition(EVENTS.name, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(15)
                assert message is not None, f"nothing came for {partition}@{at}"
                assert message.error() is None, message.error()
                at = message.offset() + 1
                if message.offset() < high:
                    event = EVENTS.decode(message.value() or b"")
                    place = (log_at(known, partition, message.offset()), partition, message.offset())
                    found[place] = (event.venue, getattr(event, "symbol", ""), getattr(event, "seq", 0))
    finally:
        consumer.close()
    return found


def log_at(known: list[LogIdentity], partition: int, offset: int) -> str:
    (log_id,) = [
        log.log_id
        for log in known
        if log.start(partition) <= offset and ((end := log.end(partition)) is None or offset < end)
    ]
    return log_id


def stored(product: Product) -> Counter[Place]:
    each = " UNION ALL ".join(f"SELECT log_id, src_partition, src_offset FROM {table}" for table in ARCHIVE)
    return Counter((str(log), int(partition), int(offset)) for log, partition, offset in product.rows(each))


def until_scored(product: Product, log_id: str, since: float, within_s: float) -> float:
    """Seconds until rows of this log were stored."""
    while not product.rows(f"SELECT count() FROM predictions WHERE log_id = '{log_id}'")[0][0]:
        assert time.monotonic() - since < within_s, f"nothing of log {log_id} was stored within {within_s:g} s"
        time.sleep(0.1)
    return time.monotonic() - since


def assert_exactly_once(product: Product) -> None:
    """Every record of the broker has one row under its own log and place; the rest is what the broker had forgotten."""
    expected, deadline = on_the_broker(product), time.monotonic() + 120
    while missing := expected.keys() - (rows := stored(product)).keys():
        assert time.monotonic() < deadline, f"{len(missing)} records were skipped: {sorted(missing)[:5]}"
        time.sleep(0.5)
    assert [place for place, count in rows.items() if count > 1] == []
    known = {log.log_id: log for log in logs(product)}
    for log_id, partition, offset in rows.keys() - expected.keys():
        end = known[log_id].end(partition)
        assert end is None or offset >= end, "a row of a record that was never there"
    ticks = product.rows(
        "SELECT log_id, src_partition, src_offset, venue, symbol, seq FROM trades UNION ALL "
        "SELECT log_id, src_partition, src_offset, venue, symbol, seq FROM quotes"
    )
    for *place, venue, symbol, seq in ticks:
        told = expected.get((str(place[0]), int(place[1]), int(place[2])))
        assert told is None or told == (venue, symbol, seq)


def assert_what_was_told_stands(product: Product) -> None:
    """Nobody has to tell the rules and the champion again because the broker has crashed."""
    last, deadline = logs(product)[-1].log_id, time.monotonic() + 30
    of_last, partitions = f"WHERE log_id = '{last}' AND refused = ''", Kafka().partitions
    for table in ("model_changes", "rule_changes"):
        while len(product.rows(f"SELECT DISTINCT src_partition FROM {table} {of_last}")) < partitions:
            assert time.monotonic() < deadline, f"{table}: it was not said again on every partition"
            time.sleep(0.1)
    (standing,) = json.loads(product.tickwire("rules", "list", "--json"))
    assert (msgspec.convert(standing["rule"], Rule), len(standing["fence"])) == (RULE, partitions)
    fences = f"SELECT src_partition, max(src_offset) AS fence FROM model_changes {of_last} GROUP BY src_partition"
    served = product.rows(
        f"SELECT DISTINCT champion FROM predictions JOIN ({fences}) AS f USING src_partition "
        f"WHERE log_id = '{last}' AND src_offset > fence"
    )
    assert served == [("online",)]


def new_log(product: Product, before: str, since: float) -> LogIdentity:
    while (newest := logs(product)[-1]).log_id == before:
        assert time.monotonic() - since < 60, "the lost end was not noticed"
        time.sleep(0.02)
    return newest


def test_a_broker_that_is_killed_three_times_under_load_costs_its_tail_and_nothing_else(tmp_path: Path) -> None:
    took = []
    rule = tmp_path / "rule.json"
    rule.write_bytes(msgspec.json.encode(RULE))
    with running(tmp_path / "data", "sim", **FEW) as product:
        product.tickwire("rules", "add", str(rule))
        product.tickwire("models", "promote", "online")
        for _ in range(3):
            time.sleep(4.0)
            before, since = logs(product)[-1].log_id, time.monotonic()
            os.kill(pid_of(product, "kafka"), signal.SIGKILL)
            took.append(until_scored(product, new_log(product, before, since).log_id, since, 200))
        assert_what_was_told_stands(product)
        assert_exactly_once(product)
        said, closed = " ".join(product.said.read_text().split()), logs(product)[:-1]
        assert len(closed) == 3
        assert sum(sum(log.lost.values()) for log in closed) > 0
        for log in closed:
            lost = sum(log.lost.values())
            assert f"{lost:,} acknowledged records are lost" in said or (
                lost == 0 and "no acknowledged record is lost" in said
            )
            ((told,),) = product.rows(f"SELECT arraySum(lost) FROM logs FINAL WHERE log_id = '{log.log_id}'")
            assert told == lost
        score = (product.data / "logs" / "score.log").read_text()
        assert "RecoveryError" not in score
        print(
            f"scoring went on after {[round(s, 1) for s in took]} s; lost {[sum(log.lost.values()) for log in closed]}"
        )


def test_everything_killed_at_once_and_started_again_goes_on_under_a_new_log(tmp_path: Path) -> None:
    with running(tmp_path / "data", "sim", **FEW) as product:
        time.sleep(5.0)
        before = logs(product)[-1].log_id
        for pid in (pid_of(product, "kafka"), *product.pids(), product.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        product.process.wait(10)
    with running(tmp_path / "data", "sim", **FEW) as again:
        *_, closed, current = logs(again)
        assert closed.log_id == before
        lost = sum(closed.lost.values())
        said = " ".join(again.said.read_text().split())
        assert (f"{lost:,} acknowledged records are lost" if lost else "no acknowledged record is lost") in said
        until_scored(again, current.log_id, time.monotonic(), 200)
        assert_exactly_once(again)

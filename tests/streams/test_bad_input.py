"""Bad records on real brokers, a message of 10 MB among them: dead letters with their reasons, and the flow goes on."""

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from infra.clock import WallClock
from infra.kafka import client_config
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from processors.ledger import DOORS
from processors.shard import FoldRules
from schemas.events import Heartbeat, Quote, Trade
from schemas.topics import DEAD_LETTERS, EVENTS
from tests.services.apache_kafka import ApacheKafka
from tests.services.flows import FlowRun, fresh_topics

MEGABYTES = 10_000_000
NOW = WallClock().now_ns()


def trade(seq: int, **changed: object) -> Trade:
    told = {
        "symbol": "A",
        "venue": "X",
        "seq": seq,
        "ts_event": NOW + seq,
        "ts_ingest": NOW + seq,
        "price": 2.0,
        "size": 3.0,
    }
    return Trade(**(told | changed))  # type: ignore[arg-type]


def bad() -> list[tuple[bytes | None, str]]:
    """What comes in, and why it cannot be used."""
    raw = EVENTS.encode(trade(5))
    crossed = Quote(symbol="A", venue="X", seq=1, ts_event=NOW, ts_ingest=NOW, bid=2.0, bid_size=1, ask=1.0, ask_size=1)
    return [
        (b"\xff\xfe\x00garbage", "undecodable"),
        (None, "not_a_message"),
        (raw.replace(b'"price":2.0', b'"price":"2.0"'), "invalid_value"),
        (raw.replace(b'"price":2.0', b'"price":NaN'), "undecodable"),
        (raw.replace(b'"price":2.0', b'"price":1e999'), "invalid_value"),
        (raw.replace(b'"price":2.0', b'"price":0'), "invalid_value"),
        (raw.replace(b'"price":2.0', b'"price":-7'), "invalid_value"),
        (raw.replace(b'"trade"', b'"block_trade"'), "unknown_type"),
        (EVENTS.encode(crossed), "crossed_quote"),
        (EVENTS.encode(trade(6, ts_event=NOW + 3_600 * 10**9)), "future"),
        (b'{"type":"trade","pad":"' + b"x" * 500_000 + b'"}', "too_large"),
    ]


def huge() -> bytes:
    """Ten megabytes."""
    return b'{"type":"trade","pad":"' + b"x" * MEGABYTES + b'"}'


def allow_large_messages(kafka: Kafka) -> None:
    entry = ConfigEntry("max.message.bytes", str(2 * MEGABYTES), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, EVENTS.name, incremental_configs=[entry])
    admin = AdminClient(client_config(kafka))
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> Kafka:
    if request.param == "apache":
        cluster: ApacheKafka = request.getfixturevalue("apache_kafka")
        made = Kafka(bootstrap=cluster.bootstrap, partitions=1)
        fresh_topics(made)
        allow_large_messages(made)
        return made
    made = Kafka(bootstrap=request.getfixturevalue("embedded_kafka"), partitions=1)
    fresh_topics(made)
    return made


@pytest.mark.embedded
def test_bad_records_are_told_with_their_reasons_and_the_flow_goes_on(kafka: Kafka) -> None:
    producer = Producer({**client_config(kafka), "message.max.bytes": 2 * MEGABYTES})
    producer.produce(EVENTS.name, EVENTS.encode(trade(0)), partition=0)
    refused: list[str] = []
    for value, _ in bad():
        producer.produce(
            EVENTS.name, value, partition=0, on_delivery=lambda e, _: refused.append(e.name()) if e else None
        )
    producer.produce(EVENTS.name, huge(), partition=0, on_delivery=lambda e, _: refused.append(e.name()) if e else None)
    producer.produce(EVENTS.name, EVENTS.encode(trade(9)), partition=0)
    assert producer.flush(30) == 0
    expected = [reason for _, reason in bad()]
    if refused:  # the embedded broker stops it at the door; Kafka takes it where the topic allows
        assert refused == ["MSG_SIZE_TOO_LARGE"]
    else:
        expected.append("too_large")
    run = FlowRun(kafka).go()
    letters = run.writer.of(DEAD_LETTERS)
    assert [letter.reason for letter in letters] == expected
    assert [letter.offset for letter in letters] == list(range(1, 1 + len(letters)))
    assert run.store.column("trades", "src_offset") == [0, 1 + len(letters)]
    assert run.store.column("dead_letters", "reason") == expected
    assert dict(zip(DOORS, run.report.counts[0], strict=True))["rejected"] == len(letters)


@pytest.mark.embedded
def test_a_flood_of_unknown_symbols_leaves_the_known_ones_alone(embedded_kafka: str) -> None:
    kafka = Kafka(bootstrap=embedded_kafka, partitions=1)
    fresh_topics(kafka)
    writer = KafkaWriter(kafka)
    writer.write([trade(1), Heartbeat(venue="X", seq=1, ts_event=NOW, ts_ingest=NOW)])
    writer.write([trade(i, symbol=f"FLOOD{i}") for i in range(2, 5_002)])
    writer.write([trade(6_000)])
    writer.flush()
    run = FlowRun(kafka, rules=FoldRules(max_symbols=100)).go()
    known = np.array(run.store.column("trades", "symbol"))
    assert (known == "A").sum() == 2
    assert len(set(known)) == 100
    assert {letter.reason for letter in run.writer.of(DEAD_LETTERS)} == {"symbol_limit"}
    assert sum(run.report.counts[0]) == 5_003

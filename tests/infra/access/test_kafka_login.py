"""A real Kafka that wants TLS and a login: our clients and Faust's get in with the settings, and nobody else does."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from infra.access.faust_login import faust_credentials
from infra.kafka import client_config, create_topics
from infra.kafka_log import KafkaLog
from infra.kafka_writer import KafkaWriter
from infra.log_identity import current_log
from infra.settings import Kafka
from schemas.errors import BackendError
from schemas.events import Trade
from schemas.topics import EVENTS
from tests.services.apache_kafka import kafka_cluster
from tests.services.certificates import Certificates, certificates

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True)
class Guarded:
    """The settings that get in."""

    kafka: Kafka
    made: Certificates

    def but(self, **changes: Any) -> Kafka:
        return Kafka.model_validate(self.kafka.model_dump() | {"password": "s3cret"} | changes)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = certificates(tmp_path_factory.mktemp("certificates"))
    asked = {
        "security_protocol": "sasl_ssl", "sasl_mechanism": "PLAIN", "username": "tickwire", "password": "s3cret",
        "ca_file": str(made.authority), "partitions": 2,
    }  # fmt: skip
    settings = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(made.server), "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(made.authority), "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{LOGIN} username="broker" password="b" user_broker="b" user_tickwire="s3cret";'
        ),
    }  # fmt: skip
    client = {
        name: str(value)
        for name, value in client_config(Kafka.model_validate(asked)).items()
        if name != "bootstrap.servers"
    }
    with kafka_cluster(1, settings, protocol="SASL_SSL", client=client) as cluster:
        yield Guarded(Kafka.model_validate(asked | {"bootstrap": cluster.bootstrap}), made)


def trade(number: int) -> Trade:
    now = time.time_ns()
    return Trade(symbol="SPY", venue="X", seq=number, ts_event=now, ts_ingest=now, price=1.5, size=2.0)


def test_the_log_is_made_written_and_read_by_tls_with_a_login(guarded: Guarded) -> None:
    kafka = guarded.kafka
    assert EVENTS.name in create_topics(kafka)
    writer = KafkaWriter(kafka)
    writer.write([trade(number) for number in range(100)])
    writer.flush()
    assert current_log(kafka).log_id
    log = KafkaLog(kafka, current_log(kafka).log_id, range(2))
    found: list[bytes] = []
    readers = [log.open(partition, 0) for partition in range(2)]
    deadline = time.monotonic() + 30
    while len(found) < 100 and time.monotonic() < deadline:
        for reader in readers:
            poll = reader.poll(1_000)
            found += [] if poll is None else [bytes(value) for value in poll.values if value is not None]
    for reader in readers:
        reader.consumer.close()
    assert [EVENTS.decode(raw).seq for raw in found] == list(range(100))


def test_faust_s_client_gets_in_with_the_same_settings(guarded: Guarded) -> None:
    create_topics(guarded.kafka)
    login: Any = faust_credentials(guarded.kafka)

    async def topics() -> set[str]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=guarded.kafka.bootstrap, security_protocol=login.protocol.value,
            sasl_mechanism=login.mechanism.value, sasl_plain_username=login.username,
            sasl_plain_password=login.password, ssl_context=login.ssl_context,
        )  # fmt: skip
        await consumer.start()
        try:
            return set(await consumer.topics())
        finally:
            await consumer.stop()

    assert EVENTS.name in asyncio.run(topics())


@pytest.mark.parametrize("how", ["password", "stranger", "plaintext", "nobody"])
def test_whoever_has_not_what_it_takes_is_not_let_in(
    guarded: Guarded, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.ANSWER_S", 4)
    changes: dict[str, dict[str, Any]] = {
        "password": {"password": "guessed"},
        "stranger": {"ca_file": str(guarded.made.stranger)},
        "plaintext": {"security_protocol": "plaintext", "sasl_mechanism": ""},
        "nobody": {"security_protocol": "ssl", "sasl_mechanism": ""},
    }
    with pytest.raises(BackendError, match="did not answer within 4 s"):
        create_topics(guarded.but(**changes[how]))

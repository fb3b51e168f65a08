"""TLS and logins to Kafka, Redis and ClickHouse, with a certificate authority of our own; and what is refused."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaProducer

from infra.access.faust_login import faust_credentials
from infra.access.rates import RateLimiter
from infra.cli.queries import _within
from infra.clickhouse import connect
from infra.kafka import create_topics, topic_id
from infra.redis import LatestStore
from infra.settings import Kafka, Rates
from infra.telemetry import Telemetry
from schemas.errors import BackendError, DatabaseUnavailable, SettingsError, StoreUnavailable
from tests.services.apache_kafka import kafka_cluster
from tests.services.certificates import Certificates, certificates, tls_in_front_of
from tests.services.clickhouse_ways import CURRENT
from tests.services.processes import HOST, free_ports
from tests.services.valkey import Valkey


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


def test_redis_is_reached_by_tls_and_only_with_a_certificate_of_the_right_authority(
    valkey: Valkey, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Valkey's wheel is built without TLS, so it stands in front of it."""
    monkeypatch.setattr("infra.access.rates.ANSWER_S", 10.0)  # this machine may be busy
    monkeypatch.setattr("infra.access.rates.CONNECT_S", 10.0)
    with tls_in_front_of(valkey.port, made) as port:
        good = f"rediss://{HOST}:{port}/0?ssl_ca_certs={made.authority}"
        store = LatestStore(good, ttl_s=60)
        store.symbols()
        store.close()
        telemetry = Telemetry()
        asyncio.run(_hit(RateLimiter(Rates(), good, telemetry)))
        assert b"tickwire_rate_limits_shared_up 1.0" in telemetry.exposition()
        for bad in (f"rediss://{HOST}:{port}/0?ssl_ca_certs={made.stranger}", f"rediss://{HOST}:{port}/0"):
            store = LatestStore(bad, ttl_s=60)
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                store.symbols()
            store.close()


async def _hit(limiter: RateLimiter) -> None:
    await limiter.hit("tls", "read")
    await limiter.close()


@CURRENT
def test_clickhouse_is_reached_by_tls_and_only_with_a_certificate_of_the_right_authority(
    clickhouse_url: str, way: str, made: Certificates
) -> None:
    plain = urlsplit(clickhouse_url)
    assert plain.port is not None
    scheme = {"http": "https", "native": "natives"}[way]
    with tls_in_front_of(plain.port, made) as port:
        good = connect(f"{scheme}://{HOST}:{port}?ca_file={made.authority}", timeout_s=30)
        assert good.rows("SELECT 1 AS one").rows == [(1,)]
        good.close()
        for bad in (f"{scheme}://{HOST}:{port}?ca_file={made.stranger}", f"{scheme}://{HOST}:{port}"):
            database = connect(bad, timeout_s=30)
            with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
                database.rows("SELECT 1")
            database.close()


def test_the_authority_stays_in_the_address_where_the_database_is_named(made: Certificates) -> None:
    assert _within("https://u:p@h:8443/?ca_file=/a/b", "market") == "https://u:p@h:8443/market?ca_file=/a/b"
    assert _within("http://h:8123", "market") == "http://h:8123/market"
    with pytest.raises(SettingsError, match="no option but ca_file"):
        connect("https://h/?verify=0")


USERS = 'user_tickwire="right-word"'


@pytest.fixture(scope="module")
def secured(made: Certificates) -> Iterator[Kafka]:
    """A broker with a listener that wants TLS and a login."""
    (port,) = free_ports(1)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    settings = {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(made.server),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{login} {USERS};",
    }
    with kafka_cluster(brokers=1, settings=settings, listener=f"SASL_SSL://{HOST}:{port}"):
        yield Kafka.model_validate(
            {
                "bootstrap": f"{HOST}:{port}", "partitions": 1, "security_protocol": "sasl_ssl", "sasl_mechanism": "PLAIN",
                "username": "tickwire", "password": "right-word", "ca_file": str(made.authority),
            }
        )  # fmt: skip


@pytest.mark.kafka
def test_kafka_is_reached_by_tls_and_login_and_by_nothing_less(
    secured: Kafka, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert create_topics(secured)
    assert topic_id(secured)
    monkeypatch.setattr("infra.kafka.ANSWER_S", 5)
    for change in (
        {"ca_file": str(made.stranger)},
        {"password": "wrong-word"},
        {"security_protocol": "plaintext", "sasl_mechanism": ""},
    ):
        bad = Kafka.model_validate(secured.model_dump() | change)
        with pytest.raises(BackendError):
            create_topics(bad)


@pytest.mark.kafka
def test_faust_s_client_is_let_in_with_the_same_settings(secured: Kafka) -> None:
    """aiokafka, with what Faust hands on to it."""
    credentials: Any = faust_credentials(secured)

    async def said() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=secured.bootstrap, security_protocol=credentials.protocol.value,
            sasl_mechanism=credentials.mechanism.value, sasl_plain_username=credentials.username,
            sasl_plain_password=credentials.password, ssl_context=credentials.ssl_context,
        )  # fmt: skip
        async with asyncio.timeout(30):
            await producer.start()
            await producer.stop()

    create_topics(secured)
    asyncio.run(said())
    assert faust_credentials(Kafka()) is None

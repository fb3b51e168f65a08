"""TLS to Redis and ClickHouse with a certificate authority of our own, and what is refused; what Faust gets to log in with."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.access.faust_login import faust_credentials
from infra.access.rates import RateLimiter
from infra.cli.queries import _within
from infra.clickhouse import connect
from infra.redis import LatestStore
from infra.settings import Kafka, Rates
from infra.telemetry import Telemetry
from schemas.errors import DatabaseUnavailable, SettingsError, StoreUnavailable
from tests.services.certificates import Certificates, certificates, tls_in_front_of
from tests.services.clickhouse_ways import CURRENT
from tests.services.processes import HOST
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


def test_faust_s_client_gets_the_same_login_as_ours(made: Certificates) -> None:
    kafka = Kafka.model_validate(
        {"security_protocol": "sasl_ssl", "sasl_mechanism": "SCRAM-SHA-512", "username": "u", "password": "p",
         "ca_file": str(made.authority)}
    )  # fmt: skip
    found: Any = faust_credentials(kafka)
    assert (found.protocol.value, found.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (found.username, found.password) == ("u", "p")
    assert found.ssl_context.check_hostname
    assert len(found.ssl_context.get_ca_certs()) == 1
    assert faust_credentials(Kafka()) is None

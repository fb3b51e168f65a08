"""No secret is ever in a log: of a run with secrets set, asked everything, with services that fail."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.access.needs import declarations
from api.app import create_app
from api.feed.hub import FeedHub
from api.ports import Ports
from infra.access.callers import access
from infra.access.keys import key_file
from infra.access.secret_values import secrets_of
from infra.clickhouse import connect
from infra.history import ClickHouseHistory
from infra.logs import configure_logging
from infra.redis import LatestStore
from infra.settings import Settings
from infra.status import RedisStatus
from infra.telemetry import Telemetry

CANARY = "canary-17-of-the-mine"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()
    logging.captureWarnings(False)


def settings(data: Path) -> Settings:
    return Settings.model_validate(
        {
            "data": data,
            "kafka": {"password": f"{CANARY}-kafka"},
            "redis": {"url": f"redis://us:{CANARY}-redis@127.0.0.1:1/0"},
            "clickhouse": {"url": f"http://us:{CANARY}-house@127.0.0.1:1/", "timeout": 1},
            "registry": {"url": f"http://us:{CANARY}-flow@127.0.0.1:1/"},
            "api": {"key": f"{CANARY}-own", "audit_key": f"{CANARY}-seal"},
        }
    )


def test_every_secret_setting_is_known_also_inside_an_address(tmp_path: Path) -> None:
    assert secrets_of(settings(tmp_path)) == {
        f"{CANARY}-{name}" for name in ("kafka", "redis", "house", "flow", "own", "seal")
    }
    odd = Settings.model_validate({"redis": {"url": SecretStr("redis://us:p%40ss%2Fword@h:1/0")}})
    assert secrets_of(odd) == {"p%40ss%2Fword", "p@ss/word"}


@pytest.mark.parametrize("json", [False, True])
def test_a_log_line_masks_secrets_keys_and_tokens_wherever_they_stand(out: io.StringIO, *, json: bool) -> None:
    configure_logging("DEBUG", json=json, stream=out, secrets=["p@ss/word", CANARY, "x"])
    key, token = f"tk_0123456789_{'a' * 43}", f"eyJ{'a' * 20}.eyJ{'b' * 30}.{'c' * 40}"
    structlog.get_logger().warning("said p@ss/word", key=key, deep={"token": token})
    try:
        raise ValueError(f"could not use {CANARY} for {token}")
    except ValueError:
        logging.getLogger("library").exception("failed with %s", key)
    told = out.getvalue()
    assert "ValueError" in told
    assert "could not use ***" in told
    for secret in ("p@ss/word", CANARY, key, token):
        assert secret not in told
    assert "example" not in told
    assert "exc" in told or "Traceback" in told  # "x" is too short to be a secret


def test_a_run_with_secrets_and_services_that_fail_tells_none_of_them(tmp_path: Path, out: io.StringIO) -> None:
    """Nothing is masked here: what is told must be clean in itself."""
    configure_logging("DEBUG", stream=out)
    found, telemetry = settings(tmp_path), Telemetry()
    _, good = key_file(found).create("desk", "admin", None)
    shown = [
        good,
        f"tk_{CANARY}",
        f"tk_0123456789_{CANARY}",
        f"eyJhbGciOiJub25lIn0.{CANARY}.",
        f"{CANARY}.{CANARY}.{CANARY}",
    ]
    database = connect(found.clickhouse.url.get_secret_value(), timeout_s=1)
    url = found.redis.url.get_secret_value()
    hub = FeedHub(telemetry, lambda: 1)
    with access(found, telemetry) as judged:
        ports = Ports(
            latest=LatestStore(url, ttl_s=1), history=ClickHouseHistory(database, "tickwire"),
            status=RedisStatus(redis.Redis.from_url(url, socket_timeout=1)), meter=telemetry,
            exposition=telemetry.exposition, now_ns=lambda: 1, access=judged,
        )  # fmt: skip
        app = create_app(ports, hub, version="0")
        with TestClient(app, raise_server_exceptions=False) as client:
            answers = [
                client.request(method, route.path.replace("{symbol}", "A").replace("{kind}", "x"), headers=headers)
                for route in declarations(app)
                for method in route.methods
                for key in shown
                for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key, "x-request-id": "r1"})
            ]
    said = out.getvalue() + (tmp_path / "access" / "audit.jsonl").read_text() + str([each.text for each in answers])
    assert {answer.status_code for answer in answers} >= {200, 401, 503}
    assert "Redis does not answer" in said
    assert CANARY not in said
    assert good not in said
    assert good.rpartition("_")[2] not in said

"""Liveness, readiness and its reasons."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from schemas.rows import FeedState
from tests.api.fakes import NOW_NS, World, status, world


@pytest.fixture
def small() -> World:
    return world()


@pytest.fixture
def client(small: World) -> Iterator[TestClient]:
    with TestClient(small.app()) as made:
        yield made


def reasons(client: TestClient) -> dict[str, str]:
    """Why it is not ready."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "/problems/not-ready"
    return {error["where"]: error["message"] for error in answer.json()["errors"]}


def test_ready_names_the_provider_the_models_and_the_lag(client: TestClient, small: World) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ready"
    assert body["lag"] == 7
    assert body["scores"][0]["provider"] == "CPUExecutionProvider"
    assert body["scores"][0]["models"] == {"online": "river-1", "onnx": "mlp-77ab"}
    assert body["scores"][0]["feeds"] == [{"venue": "SIM", "ts_event": NOW_NS, "state": "up"}]
    assert body["feed"] == {"epoch": small.hub.epoch, "clients": 0, "messages": 0, "idle_s": None}
    assert body["warnings"] == []


def test_alive_does_not_mean_ready(client: TestClient, small: World) -> None:
    small.status.documents = []
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "no scoring process" in reasons(client)["score"]


def test_every_reason_is_named_at_once(client: TestClient, small: World) -> None:
    small.history.down = small.status.down = True
    assert reasons(client).keys() == {"clickhouse", "redis"}


def test_a_scoring_process_that_has_gone_quiet_is_a_reason(client: TestClient, small: World) -> None:
    small.status.documents = [status(ts=NOW_NS - 11_000_000_000)]
    assert reasons(client) == {"score.score-0": "score-0 has said nothing for 11 s"}


def test_no_model_and_too_much_lag_are_reasons(client: TestClient, small: World) -> None:
    small.status.documents = [status(models={}, provider="", lag={"0": 100_001})]
    assert reasons(client).keys() == {"score.score-0.models", "lag"}


def test_a_venue_that_is_down_is_a_warning(client: TestClient, small: World) -> None:
    small.status.documents = [status(feeds=(FeedState(venue="SIM", ts_event=NOW_NS, state="down"),))]
    assert client.get("/readyz").json()["warnings"] == ["the feed of SIM is down"]


def test_a_feed_that_does_not_run_is_a_reason(small: World) -> None:
    unstarted = TestClient(small.app())
    assert reasons(unstarted).keys() == {"feed"}


def test_the_version_changes_its_epoch_with_every_start() -> None:
    one, other = TestClient(world().app()).get("/version").json(), TestClient(world().app()).get("/version").json()
    assert (one["name"], one["version"]) == ("tickwire", "0.1.0")
    assert one["epoch"] != other["epoch"]

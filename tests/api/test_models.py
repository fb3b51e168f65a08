"""Models by REST: what there is, scores on demand, changes, and requests that come twice."""

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from schemas.errors import StoreUnavailable
from tests.api.fakes import World, latest
from tests.api.predictors import expected
from tests.api.whole import ModelList

CHANGE = {"action": "promote", "model": "other-1", "why": "better"}


def predicted(client: TestClient, **body: Any) -> Any:
    answer = client.post("/v1/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, path: str = "/v1/predict", **body: Any) -> tuple[int, str, str]:
    answer = client.post(path, json=body)
    return answer.status_code, answer.json()["type"].removeprefix("/problems/"), answer.json()["detail"]


def test_the_newest_features_of_symbols_are_scored_by_the_model_that_scores_now(client: TestClient) -> None:
    answer = predicted(client, symbols=["SIMA"])
    assert (answer["model"], answer["horizon_s"], answer["features_id"]) == ("formula-2c3d", 10.0, "abc1")
    assert answer["data"] == [
        {
            "p_up": expected([[1.0, 2.0, 0.0]])[0],
            "missing": 1,
            "symbol": "SIMA",
            "ts_event": "2026-11-22T14:29:59.999999995Z",
        }
    ]


def test_rows_of_ones_own_are_scored_by_name_whatever_their_order(client: TestClient) -> None:
    answer = predicted(client, rows=[{"b": 2.0, "a": 1.0}, {"c": 4.0, "a": None, "b": 0.5}, {}], model="formula")
    assert [row["p_up"] for row in answer["data"]] == expected([[1.0, 2.0, 0.0], [0.0, 0.5, 4.0], [0.0, 0.0, 0.0]])
    assert [row["missing"] for row in answer["data"]] == [1, 1, 3]
    assert predicted(client, rows=[{}], model="formula", version="0a1b")["data"][0]["p_up"] == 0.25


def test_without_a_model_that_scores_the_only_one_is_meant(client: TestClient, everything: World) -> None:
    everything.more["models"].id = ""
    assert predicted(client, rows=[{}])["model"] == "formula-2c3d"
    everything.more["predictor"].broken = True
    status, kind, detail = refused(client, rows=[{}])
    assert (status, kind) == (422, "invalid-request")
    assert "expected one of broken, formula" in detail


def test_what_cannot_be_scored_is_refused_with_what_was_expected(client: TestClient, everything: World) -> None:
    everything.latest.rows.append(latest("OLD", features={"a": 1.0}))
    assert refused(client)[1:] == ("invalid-request", "body: expected either `symbols` or `rows`, and at least one")
    assert refused(client, symbols=["SIMA"], rows=[{}])[0] == 422
    assert refused(client, rows=[{"aa": 1.0}])[2] == "body.rows[0]: formula-2c3d has no feature aa; did you mean a?"
    assert "does not compute now: b, c" in refused(client, symbols=["OLD"])[2]
    everything.latest.rows.append(latest("NEW", features=dict.fromkeys("abc", 1.0), features_id="77ab"))
    assert refused(client, symbols=["SIMA", "NEW"])[1:] == (
        "invalid-request",
        "body.symbols[1]: formula-2c3d was trained on features abc1, but the stream carries 77ab",
    )
    assert refused(client, symbols=["NONE"])[:2] == (404, "unknown-symbol")
    assert refused(client, rows=[{}], model="formulo")[:2] == (404, "unknown-model")
    assert refused(client, rows=[{}] * 1_001)[:2] == (422, "invalid-request")
    assert refused(client, rows=[{"a": "1"}])[:2] == (422, "invalid-request")


def test_a_model_that_must_not_be_used_is_a_503_that_keeps_its_path_to_itself(
    client: TestClient, everything: World
) -> None:
    everything.more["predictor"].broken = True
    status, kind, detail = refused(client, rows=[{}], model="broken")
    assert (status, kind) == (503, "model-unusable")
    assert "secret" not in detail


def test_models_changes_and_the_scoreboard_are_told(client: TestClient) -> None:
    assert client.get("/v1/models").json()["data"][0]["roles"] == ["champion", "onnx"]
    assert [one["model"] for one in client.get("/v1/models/changes?limit=2").json()["data"]] == ["formula-2c3d"] * 2
    line = client.get("/v1/models/scoreboard?by=symbol&horizon=60").json()["data"][0]
    assert (line["group"], line["horizon_s"], line["measures"]["log_loss"]["high"]) == ("symbol", 60.0, None)
    assert client.get("/v1/models/scoreboard?by=moon").status_code == 422


def test_a_change_is_said_in_the_callers_name_and_a_refusal_is_told(client: TestClient, everything: World) -> None:
    answer = client.post("/v1/models/changes", json=CHANGE)
    assert answer.json() == {
        "action": "promote", "model": "other-1", "fence": {"0": 7, "1": 7}, "everywhere": True, "refused": {},
    }  # fmt: skip
    (asked,) = everything.more["models"].asked
    assert (asked.action, asked.why, asked.by) == ("promote", "better", "address testclient")
    assert refused(client, "/v1/models/changes", action="promote", model="formula-2c3d")[:2] == (409, "model-refused")
    half = client.post("/v1/models/changes", json=CHANGE | {"model": "half-1"})
    assert (half.status_code, half.json()["fence"], half.json()["refused"]) == (
        200,
        {"0": 7},
        {"1": "it serves already"},
    )
    unknown = refused(client, "/v1/models/changes", action="promote", model="unknown")
    assert unknown[:2] == (409, "model-refused")
    assert "/srv" not in unknown[2]
    assert refused(client, "/v1/models/changes", action="warm", model="online")[0] == 422


def once(client: TestClient, key: str, body: Any = CHANGE) -> Any:
    return client.post("/v1/models/changes", json=body, headers={"idempotency-key": key})


def test_a_request_that_comes_again_is_carried_out_once_and_answered_alike(
    client: TestClient, everything: World
) -> None:
    first, second = once(client, "k-1"), once(client, "k-1")
    assert len(everything.more["models"].asked) == 1
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert (first.headers.get("idempotency-replayed"), second.headers["idempotency-replayed"]) == (None, "true")
    once(client, "k-2")
    client.post("/v1/models/changes", json=CHANGE)
    assert len(everything.more["models"].asked) == 3


def test_a_change_that_was_made_is_answered_even_where_the_answer_cannot_be_kept(
    client: TestClient, everything: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(*_: Any) -> None:
        raise StoreUnavailable("Redis did not answer about an Idempotency-Key")

    monkeypatch.setattr(everything.more["once"], "keep", keep)
    answer = once(client, "k-1")
    assert (answer.status_code, len(everything.more["models"].asked)) == (200, 1)
    again = once(client, "k-1")
    assert (again.status_code, again.json()["type"]) == (409, "/problems/still-running")


def test_a_key_that_comes_with_another_body_is_refused(client: TestClient, everything: World) -> None:
    once(client, "k-1")
    answer = once(client, "k-1", CHANGE | {"why": "worse"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/key-reused")
    assert len(everything.more["models"].asked) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é".encode()])
def test_what_is_no_key_is_refused(client: TestClient, key: Any) -> None:
    answer = once(client, key)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "header.idempotency-key")


def test_an_error_is_not_kept_so_that_the_request_may_be_repeated(client: TestClient, everything: World) -> None:
    refusing = CHANGE | {"model": "formula-2c3d"}
    assert [once(client, "k-1", refusing).status_code for _ in range(2)] == [409, 409]
    assert len(everything.more["models"].asked) == 2
    assert everything.more["once"].kept == {}


def test_the_same_request_while_the_first_one_runs_is_told_to_wait(client: TestClient, everything: World) -> None:
    gate, inside = threading.Event(), threading.Event()
    desk: ModelList = everything.more["models"]
    change = desk.change

    def slowly(asked: Any) -> Any:
        inside.set()
        assert gate.wait(10)
        return change(asked)

    desk.change = slowly  # type: ignore[method-assign]
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(once(client, "k-1")))
    first.start()
    assert inside.wait(10)
    second = once(client, "k-1")
    gate.set()
    first.join(10)
    assert (second.status_code, second.json()["type"], second.headers["retry-after"]) == (
        409,
        "/problems/still-running",
        "1",
    )
    assert answers[0].status_code == 200
    assert once(client, "k-1").headers["idempotency-replayed"] == "true"


def test_a_kept_answer_has_no_secret(client: TestClient) -> None:
    headers = {"idempotency-key": "k-1"}
    first, second = (
        client.post("/v1/alerts/endpoints", json={"target": "https://example.com/in"}, headers=headers)
        for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["secret"].startswith("whsec_")
    assert second.json() == first.json() | {"secret": ""}
    assert len(client.get("/v1/alerts/endpoints").json()["data"]) == 1

"""REST: the newest rows, pages of bars, and what is said when there are none."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.times import to_rfc3339
from tests.api.fakes import MINUTE_NS, NOW_NS, World, bar, latest, world


@pytest.fixture
def small() -> World:
    """Two symbols, and five minutes of bars of one."""
    made = world(latest("SIMA"), latest("BTC-USD", price=64_000.5, onnx=None, p_up=None, champion=""))
    made.history.kept = [bar(NOW_NS - MINUTE_NS * n) for n in (5, 4, 3, 2, 1)]
    return made


@pytest.fixture
def client(small: World) -> Iterator[TestClient]:
    with TestClient(small.app(), raise_server_exceptions=False) as made:
        yield made


def get(client: TestClient, path: str, **params: Any) -> Any:
    """The JSON of a good answer."""
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_symbols_are_listed_sorted(client: TestClient) -> None:
    assert get(client, "/v1/symbols") == {"data": ["BTC-USD", "SIMA"]}


def test_the_newest_prediction_says_both_scores_and_where_it_comes_from(client: TestClient) -> None:
    assert get(client, "/v1/predictions/SIMA") == {
        "symbol": "SIMA", "ts_event": "2026-11-22T14:29:59.999999995Z", "ts_ingest": "2026-11-22T14:29:59.999999997Z",
        "price": 101.255, "bid": 101.25, "ask": 101.26, "p_up": 0.53, "champion": "onnx", "online": 0.51, "onnx": 0.53,
        "features_id": "9f3c", "log_id": "sim-1", "src_partition": 1, "src_offset": 41,
    }  # fmt: skip


def test_a_score_that_does_not_exist_is_null(client: TestClient) -> None:
    row = get(client, "/v1/predictions/BTC-USD")
    assert (row["onnx"], row["p_up"], row["online"]) == (None, None, 0.51)


def test_features_are_answered_by_name_and_null_until_warm(client: TestClient) -> None:
    assert get(client, "/v1/features/SIMA")["features"] == {"vwap_dev_60s": 0.0004, "rsi_14": None}


@pytest.mark.parametrize("of", ["predictions", "features"])
def test_a_symbol_may_have_slashes(client: TestClient, small: World, of: str) -> None:
    small.latest.rows.append(latest("EUR/USD"))
    for written in ("EUR%2FUSD", "EUR/USD"):
        assert get(client, f"/v1/{of}/{written}")["symbol"] == "EUR/USD"
    assert client.delete(f"/v1/{of}/EUR/USD").headers["allow"] == "GET"
    assert f'route="/v1/{of}/{{symbol}}"' in client.get("/metrics").text


def test_bars_are_ascending_and_end_just_after_the_newest_event(client: TestClient) -> None:
    answer = get(client, "/v1/bars/SIMA", kind="1m")
    assert [one["start"] for one in answer["data"]] == [to_rfc3339(NOW_NS - MINUTE_NS * n) for n in (5, 4, 3, 2, 1)]
    assert answer["next_cursor"] is None


def test_the_start_is_inside_and_the_end_is_outside(client: TestClient) -> None:
    answer = get(client, "/v1/bars/SIMA", start="2026-11-22T14:26:00Z", end="2026-11-22T09:28:00-05:00")
    assert [one["start"][11:19] for one in answer["data"]] == ["14:26:00", "14:27:00"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_pages_of_any_size_join_to_the_whole(client: TestClient, limit: int) -> None:
    whole = get(client, "/v1/bars/SIMA")["data"]
    joined: list[Any] = []
    url: str | None = f"/v1/bars/SIMA?limit={limit}"
    pages = 0
    while url is not None:
        answer = client.get(url)
        joined += answer.json()["data"]
        url = answer.links["next"]["url"] if "next" in answer.links else None
        assert (url is None) == (answer.json()["next_cursor"] is None)
        pages += 1
    assert joined == whole
    assert pages == -(-5 // limit)


def test_a_next_page_keeps_its_end_while_new_events_come(client: TestClient, small: World) -> None:
    first = client.get("/v1/bars/SIMA?limit=3")
    small.history.kept.append(bar(NOW_NS))
    small.latest.rows[0] = latest("SIMA", ts_event=NOW_NS + MINUTE_NS * 1_440)
    second = client.get(first.links["next"]["url"]).json()
    assert [one["start"][11:16] for one in second["data"]] == ["14:28", "14:29"]


def test_a_recording_of_2013_ends_in_2013(client: TestClient, small: World) -> None:
    then = 1_381_152_600_000_000_000
    small.latest.rows.append(latest("SPY", ts_event=then + MINUTE_NS))
    small.history.kept.append(bar(then, "SPY"))
    assert [one["start"][:16] for one in get(client, "/v1/bars/SPY")["data"]] == ["2013-10-07T13:30"]


def test_a_stretch_without_bars_is_an_empty_page(client: TestClient) -> None:
    assert get(client, "/v1/bars/BTC-USD") == {"data": [], "next_cursor": None}


@pytest.mark.parametrize("path", ["predictions", "features", "bars"])
def test_an_unknown_symbol_is_refused_with_those_that_may_have_been_meant(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/{path}/btcusd")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "/problems/unknown-symbol"
    assert problem["suggestions"] == ["BTC-USD"]
    assert problem["detail"] == "no symbol btcusd has a newest row; did you mean BTC-USD?"
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("kind=1parsec", "query.kind"),
        ("limit=0", "query.limit"),
        ("limit=many", "query.limit"),
        ("limit=5001", "query.limit"),
        ("start=yesterday", "query.start"),
        ("end=2026-13-01T00:00:00Z", "query.end"),
        ("start=2026-11-22T14:26:00", "query.start"),
        ("start=2026-11-22&end=2026-11-21", "query.start"),
        ("cursor=AAAA", "query.cursor"),
        ("cursor=%F0%9F%90%88", "query.cursor"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected(client: TestClient, query: str, where: str) -> None:
    answer = client.get(f"/v1/bars/SIMA?{query}")
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/invalid-request")
    assert [error["where"] for error in problem["errors"]] == [where]
    assert problem["errors"][0]["message"]


def test_a_path_that_does_not_exist_is_a_problem(client: TestClient) -> None:
    answer = client.get("/v2/everything")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert answer.json()["instance"] == "/v2/everything"


def test_a_method_that_is_not_allowed_says_which_are(client: TestClient) -> None:
    answer = client.delete("/v1/symbols")
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert answer.headers["allow"] == "GET"


def test_every_kind_of_problem_explains_itself(client: TestClient) -> None:
    kind = client.get("/v1/predictions/NONE").json()["type"]
    assert "GET /v1/symbols lists the symbols" in client.get(kind).text
    assert client.get("/problems/nonsense").json()["type"] == "/problems/not-found"


@pytest.mark.parametrize("path", ["/v1/symbols", "/v1/predictions/SIMA", "/v1/bars/SIMA"])
def test_a_store_that_is_down_is_a_503_without_addresses(client: TestClient, small: World, path: str) -> None:
    small.latest.down = small.history.down = True
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/backend-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "127.0.0.1" not in answer.text


def test_a_bug_is_a_500_without_a_stack(client: TestClient, small: World) -> None:
    small.latest.rows = [None]  # type: ignore[list-item]
    answer = client.get("/v1/symbols")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert "Traceback" not in answer.text
    assert "NoneType" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_request_id_is_kept_where_it_is_harmless(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/healthz", headers={"x-request-id": "a\tb"}).headers["x-request-id"] != "a\tb"


def test_requests_are_counted_by_route_and_never_by_symbol(client: TestClient) -> None:
    for path in ("/v1/predictions/SIMA", "/v1/predictions/NONE", "/nowhere/at/all"):
        client.get(path)
    client.request("BREW", "/v1/symbols")
    text = client.get("/metrics").text
    line = 'tickwire_http_requests_total{{method="GET",route="{}",status="{}"}} 1.0'
    assert line.format("/v1/predictions/{symbol}", 200) in text
    assert line.format("/v1/predictions/{symbol}", 404) in text
    assert line.format("unmatched", 404) in text
    assert 'method="other"' in text
    assert "SIMA" not in text
    assert "nowhere" not in text


def test_answers_are_stored_by_nobody_but_who_asked_and_not_sniffed(client: TestClient) -> None:
    assert client.get("/version").headers["cache-control"] == "no-store"
    headers = client.get("/v1/symbols").headers
    assert headers["cache-control"] == "private, no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")

"""Every listing of the history by REST: pages, files, filters, and what is refused."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi.testclient import TestClient

from api.listings import BY_NAME, LISTINGS, Listing
from api.media import FILES
from api.routes.history import DAY_NS
from api.times import to_rfc3339
from tests.api.fakes import NOW_NS, World, latest
from tests.api.whole import rows_of

ALL = pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)


def path_of(listing: Listing, symbol: str = "SIMA") -> str:
    return f"/v1{listing.path.replace('{symbol}', symbol)}"


@ALL
def test_rows_have_the_columns_of_their_table_with_readable_times_and_nulls(
    client: TestClient, listing: Listing
) -> None:
    rows = client.get(path_of(listing)).json()["data"]
    assert len(rows) == 5
    for row in rows:
        assert list(row) == list(listing.types)
        for name, type_ in listing.types.items():
            assert not type_.startswith("DateTime64") or (row[name].endswith("Z") and len(row[name]) == 30)
    missing = {name for row in rows for name, value in row.items() if value is None}
    assert missing <= listing.nullable | {name for name, type_ in listing.types.items() if "Float" in type_}


@ALL
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_of_any_size_join_to_the_whole_also_where_rows_share_their_time(
    client: TestClient, listing: Listing, limit: int
) -> None:
    wanted = client.get(path_of(listing)).json()["data"]
    joined: list[Any] = []
    url: str | None = f"{path_of(listing)}?limit={limit}"
    while url is not None:
        answer = client.get(url)
        joined += answer.json()["data"]
        url = answer.links["next"]["url"] if "next" in answer.links else None
        assert (url is None) == (answer.json()["next_cursor"] is None)
    assert joined == wanted
    times = [row[listing.time] for row in wanted]
    assert times == sorted(times)
    assert listing.name == "bars" or len(set(times)) < len(times)


@pytest.mark.parametrize("symbol", ["€uro", "EUR/USD", "A B", "50%", "A?b#c", "A>b<c", 'A";rel=x', "A\\b", "é", "A+B"])
def test_the_link_to_the_next_page_is_a_path_whatever_the_symbol(
    client: TestClient, everything: World, symbol: str
) -> None:
    everything.latest.rows.append(latest(symbol))
    everything.history.kept += rows_of(BY_NAME["trades"], symbol)
    url, found = f"/v1/trades/{quote(symbol, safe='')}?limit=3", 0
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        found += len(answer.json()["data"])
        url = answer.headers.get("link", "").partition(">;")[0].removeprefix("<")
        assert re.fullmatch(r"[!-~]*", url)
    assert found == 5


@ALL
@pytest.mark.parametrize("media", FILES)
def test_the_same_rows_come_as_a_file_page_by_page(client: TestClient, listing: Listing, media: str) -> None:
    found, url = 0, f"{path_of(listing)}?limit=2"
    while True:
        answer = client.get(url, headers={"accept": media})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media)
        assert answer.headers["vary"].lower().startswith("accept")
        kind, names, *rows = answer.text.splitlines()
        assert (kind, names.split(",")) == (FILES[media], list(listing.types))
        assert answer.headers["x-row-count"] == str(len(rows))
        found += len(rows)
        if "next" not in answer.links:
            break
        url = answer.links["next"]["url"]
    assert found == 5


@ALL
def test_an_unknown_symbol_is_a_problem_and_a_known_one_without_rows_is_not(
    client: TestClient, listing: Listing
) -> None:
    assert client.get(path_of(listing, "BTC-USD")).json() == {"data": [], "next_cursor": None}
    answer = client.get(path_of(listing, "btcusd"))
    assert (answer.status_code, answer.json()["suggestions"]) == (404, ["BTC-USD"])


@ALL
def test_a_cursor_of_other_parts_is_refused(client: TestClient, listing: Listing) -> None:
    other = BY_NAME["outcomes" if listing.name != "outcomes" else "trades"]
    cursor = client.get(f"{path_of(other)}?limit=1").json()["next_cursor"]
    answer = client.get(path_of(listing), params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "query.cursor")


def test_outcomes_of_one_horizon(client: TestClient, everything: World) -> None:
    rows = [row for row in everything.history.kept if getattr(row, "of", "") == "outcomes"]
    for number, row in enumerate(rows):
        row.horizon_ns = (10_000_000_000, 500_000_000)[number % 2]
    found = client.get("/v1/outcomes/SIMA?horizon=0.5").json()["data"]
    assert [row["horizon_ns"] for row in found] == [500_000_000] * 2


def test_some_features_only(client: TestClient) -> None:
    (name, *_) = BY_NAME["features"].nullable
    row = client.get(f"/v1/features/SIMA/history?names={name}").json()["data"][0]
    assert list(row) == ["symbol", "ts_event", "kind", "log_id", "src_partition", "src_offset", name]
    wrong = client.get("/v1/features/SIMA/history?names=spraed").json()
    assert wrong["errors"] == [{"where": "query.names", "message": "no feature spraed; did you mean spread?"}]


def test_a_file_may_have_more_rows_than_json(client: TestClient) -> None:
    assert client.get("/v1/trades/SIMA?limit=200000", headers={"accept": "text/csv"}).status_code == 200
    answer = client.get("/v1/trades/SIMA?limit=5001")
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "query.limit")


def test_a_media_type_that_there_is_not_is_refused_with_those_there_are(client: TestClient) -> None:
    answer = client.get("/v1/trades/SIMA", headers={"accept": "application/xml"})
    assert (answer.status_code, answer.json()["type"]) == (406, "/problems/not-acceptable")
    assert "text/csv" in answer.json()["detail"]


def test_an_answer_that_has_not_changed_is_not_given_again(client: TestClient, everything: World) -> None:
    first = client.get("/v1/trades/SIMA")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (etag, f'W/{etag}, "x"', "*"):
        again = client.get("/v1/trades/SIMA", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert "content-type" not in again.headers
        assert again.headers["x-request-id"]
    everything.history.kept.pop(
        next(n for n, row in enumerate(everything.history.kept) if getattr(row, "of", "") == "trades")
    )
    changed = client.get("/v1/trades/SIMA", headers={"if-none-match": etag})
    assert (changed.status_code, changed.headers["etag"] != etag) == (200, True)
    assert client.get("/v1/trades/SIMA", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/trades/NONE", "/v1/alerts/endpoints"])
def test_what_is_not_to_be_kept_has_no_etag(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"if-none-match": "*"})
    assert answer.status_code != 304
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_the_end_may_be_left_out_and_is_just_after_the_newest_event(client: TestClient) -> None:
    answer = client.get("/v1/trades/SIMA?limit=1")
    assert f"end={to_rfc3339(NOW_NS - 4).replace(':', '%3A')}" in answer.links["next"]["url"]
    assert json.loads(answer.content)["data"][0]["src_offset"] == 0


@ALL
@pytest.mark.parametrize("media", [None, "text/csv"])
def test_a_cursor_alone_goes_on_behind_its_page_however_far_the_newest_event_has_moved_on(
    client: TestClient, everything: World, listing: Listing, media: str | None
) -> None:
    accept = {} if media is None else {"accept": media}
    wanted = client.get(path_of(listing), headers=accept).text
    first = client.get(f"{path_of(listing)}?limit=2", headers=accept)
    cursor = parse_qs(urlsplit(first.links["next"]["url"]).query)["cursor"][0]
    everything.latest.rows[0] = latest("SIMA", ts_event=NOW_NS + 2 * DAY_NS)
    second = client.get(path_of(listing), params={"cursor": cursor}, headers=accept)
    if media is None:
        assert first.json()["next_cursor"] == cursor
        assert first.json()["data"] + second.json()["data"] == json.loads(wanted)["data"]
    else:
        assert first.text.splitlines() + second.text.splitlines()[2:] == wanted.splitlines()


def test_a_cursor_behind_the_end_has_no_rows(client: TestClient) -> None:
    cursor = client.get("/v1/trades/SIMA?limit=3").json()["next_cursor"]
    answer = client.get("/v1/trades/SIMA", params={"cursor": cursor, "end": to_rfc3339(NOW_NS - DAY_NS)})
    assert (answer.status_code, answer.json()["data"]) == (200, [])

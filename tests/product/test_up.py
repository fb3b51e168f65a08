"""One command: everything starts, both models score, Ctrl-C leaves nothing behind, and it starts again."""

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import httpx2
import pytest
from websockets.sync.client import connect

from tests.product.running import Product, alive, json_lines, running
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]
FEW = {"TICKWIRE_MODELS__HISTORY": "900", "TICKWIRE_SOURCE__SIM_RATE": "40"}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("up") / "data", "sim", **FEW) as product:
        yield product


def test_it_prints_where_everything_is_and_what_to_do_next(product: Product) -> None:
    said = product.said.read_text()
    for each in ("kafka", "redis", "clickhouse", "score", "news", "collect", "api", "feed", "tickwire watch"):
        assert each in said
    assert product.addresses["clickhouse_url"] in said.replace("\n", "")


def test_the_printed_address_has_the_key_without_which_nobody_is_let_in(product: Product) -> None:
    said, api = product.said.read_text(), f"http://127.0.0.1:{product.addresses['api_port']}"
    (key,) = re.findall(rf"{re.escape(api)}/#key=(tk_dev_\S+)", said)
    assert httpx2.get(f"{api}/v1/symbols").status_code == 401
    shown = {"authorization": f"Bearer {key}"}
    until("symbols", lambda: bool(httpx2.get(f"{api}/v1/symbols", headers=shown).json()["data"]), within_s=20)
    assert httpx2.get(f"{api}/").status_code == 200
    with connect(f"{api.replace('http', 'ws')}/v1/stream") as feed:  # as the page does
        feed.send(json.dumps({"op": "auth", "key": key}))
        assert json.loads(feed.recv(timeout=10))[0]["type"] == "welcome"
    logs = "".join(log.read_text() for log in product.data.glob("logs/*.log"))
    assert key not in logs
    told = json.loads(product.tickwire("audit", "verify", "--json"))
    assert told["lines"] >= 2
    assert told["wrong"] == []


def test_the_printed_request_can_be_pasted(product: Product) -> None:
    ((header, api),) = re.findall(r'curl -H "(.+?)" (http\S+)/v1/predictions/', product.said.read_text())
    shown = subprocess.run(["sh", "-c", f'printf %s "{header}"'], capture_output=True, text=True, check=True).stdout
    name, value = shown.split(": ")
    assert httpx2.get(f"{api}/v1/symbols", headers={name: value}).status_code == 200
    assert httpx2.get(f"{api}/v1/symbols").status_code == 401


def test_watch_shows_moving_scores_of_both_models(product: Product) -> None:
    screens = json_lines(product.tickwire("watch", "--seconds", "6", "--json"))
    first, last = screens[1]["symbols"], screens[-1]["symbols"]
    assert len(last) >= 20
    for model in ("online", "onnx"):
        assert all(row[model] is not None for row in last.values())
        assert sum(first[name][model] != last[name][model] for name in first) > len(first) / 2
    assert screens[-1]["rate"] > 0
    assert screens[-1]["gaps"] == 0
    assert any(value is not None for value in last["SIMA"]["features"].values())


def test_every_update_is_scored_once_and_the_ledger_adds_up(product: Product) -> None:
    api = f"http://127.0.0.1:{product.addresses['api_port']}"
    with urlopen(f"{api}/readyz") as answer:
        ready = json.load(answer)
    score = ready["scores"][0]
    assert set(score["models"]) == {"online", "onnx"}
    assert score["provider"] == "cpu"
    product.until("SELECT count() >= " + str(score["events"]["folded"]) + " FROM predictions", 1)
    ((predictions, offsets, unscored),) = product.rows(
        "SELECT count(), uniqExact(src_partition, src_offset), countIf(onnx IS NULL OR online IS NULL) FROM predictions"
    )
    assert predictions == offsets
    assert unscored == 0
    ledger = product.rows("SELECT events_in, folded + duplicate + late + rejected + control FROM ledger")
    assert ledger
    assert all(both[0] == both[1] for both in ledger)


def test_metrics_tell_of_every_stage(product: Product) -> None:
    of_api, of_scoring, of_delivery = re.findall(r"http://127\.0\.0\.1:\d+/metrics", product.said.read_text())
    assert len({of_api, of_scoring, of_delivery}) == 3
    stages = ("decode", "advance", "clickhouse", "snapshot")
    told = ""

    def every_stage_was_timed() -> bool:
        nonlocal told
        with urlopen(of_scoring) as answer:
            told = answer.read().decode()
        counts = dict(re.findall(r'tickwire_score_stage_seconds_count\{stage="(\w+)"\} ([0-9.e+]+)', told))
        return all(float(counts.get(stage, 0)) > 0 for stage in stages)

    until("a time for every stage", every_stage_was_timed, within_s=20)
    for metric in (
        "score_events_total",
        "score_lag_records",
        "score_event_to_published_seconds",
        "score_predictions_total",
    ):
        assert f"tickwire_{metric}" in told, metric
    with urlopen(of_delivery) as answer:
        assert "tickwire_hooks_" in answer.read().decode()


def test_news_becomes_signals(product: Product) -> None:
    product.until("SELECT count() > 0 FROM news", 1)


def test_rest_answers_from_what_is_stored_and_from_the_models(product: Product) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{product.addresses['api_port']}", headers=product.key) as client:
        until("a symbol", lambda: client.get("/v1/symbols").json()["data"], within_s=60)
        symbol = client.get("/v1/symbols").json()["data"][0]
        for path in ("trades", "quotes", "news", "outcomes", "bars"):
            until(
                f"{path} of {symbol}", lambda path=path: client.get(f"/v1/{path}/{symbol}").json()["data"], within_s=60
            )
        first = client.get(f"/v1/predictions/{symbol}/history?limit=50&start=1970-01-01")
        then = client.get(first.links["next"]["url"]).json()["data"]
        offsets = [row["src_offset"] for row in [*first.json()["data"], *then]]
        assert offsets == sorted(set(offsets))
        lines = csv.reader(client.get(first.request.url, headers={"accept": "text/csv"}).text.splitlines())
        assert [line[0] for line in lines] == ["symbol", *[symbol] * 50]
        again = client.get(first.request.url, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

        roles = {role: one["id"] for one in client.get("/v1/models").json()["data"] for role in one["roles"]}
        assert roles.keys() >= {"champion", "online", "onnx"}
        for _ in range(20):  # until no event came in between
            before = client.get(f"/v1/predictions/{symbol}").json()
            scored = client.post("/v1/predict", json={"symbols": [symbol]}).json()
            if scored["data"][0]["ts_event"] == before["ts_event"]:
                break
        assert scored["model"] == roles["onnx"]
        assert scored["data"][0]["p_up"] == before["onnx"]


def test_the_commands_answer(product: Product) -> None:
    (row,) = json_lines(product.tickwire("sql", "SELECT 1 AS one, 'x' AS text", "--json"))
    assert row == {"one": 1, "text": "x"}
    topics = json.loads(product.tickwire("topics", "--json"))
    assert {topic["topic"]: topic["records"] > 0 for topic in topics}["market.events.v1"]
    assert all(finding["state"] != "bad" for finding in json.loads(product.tickwire("doctor", "--json")))


def test_the_drift_watch_waits_for_a_reference_and_says_so_once(product: Product) -> None:
    log = product.data / "logs" / "watch-drift.log"
    until("the watch waits", lambda: "no drift reference yet" in log.read_text(), within_s=40)
    assert log.read_text().count("no drift reference yet") == 1


def test_ctrl_c_leaves_nothing_behind_and_it_starts_again_where_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "sim", **FEW) as first:
        pids = first.pids()
        assert len(pids) >= 7
        first.until("SELECT count() > 1000 FROM predictions", 1)
    assert first.process.returncode == 0
    assert not any(alive(pid) for pid in pids)
    with running(data, "sim", **FEW) as again:
        assert "training" not in again.said.read_text()
        ((rows, unique),) = again.rows("SELECT count(), uniqExact(src_partition, src_offset) FROM predictions")
        assert rows == unique > 1000
        again.until(f"SELECT count() > {rows + 50} FROM predictions", 1)
    assert not any(alive(pid) for pid in again.pids())

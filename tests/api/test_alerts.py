"""The routes of alerts and rules, over lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from api.ports import Span
from infra.rule_changes import vocabulary
from schemas.backtest import Backtest
from schemas.errors import InputError
from schemas.rows import Alert
from schemas.rules import Condition, Rule, RuleChange, RuleTaken, StandingRule
from tests.api.fakes import NOW_NS, World

RULE = Rule(
    id="falls", conditions=(Condition(field="mid", op="<", threshold=10.0, hysteresis=0.5),), owner="desk", dwell_s=2
)


def alert(at: int, symbol: str = "SIMA", rule: str = "falls") -> Alert:
    return Alert(
        id=f"{rule} {symbol} {at}", rule=rule, symbol=symbol, state="fired", ts_event=at, value=9.5, threshold=10.0,
        log_id="sim-1", src_partition=0, src_offset=at % 1_000, field="mid",
    )  # fmt: skip


@dataclass
class RuleList:
    """`AlertRules` over a dict: refuses as the fold does."""

    rules: dict[str, Rule] = field(default_factory=dict)
    tried: list[tuple[Rule, int | None, int | None]] = field(default_factory=list)
    log_ends: int | None = None
    asked: list[RuleChange] = field(default_factory=list)
    others: Sequence[str] = ()
    """Partitions that refuse nothing."""

    def standing(self) -> Sequence[StandingRule]:
        return [StandingRule(rule=r, rev=1, since_ns=NOW_NS, by="api", fence={"0": 7}) for r in self.rules.values()]

    def change(self, change: RuleChange) -> RuleTaken:
        self.asked.append(change)
        there, refused = change.id in self.rules, dict[str, str]()
        if change.rule is not None:
            vocabulary().check(change.rule)
        if there == (change.action == "add"):
            refused["0"] = f"{change.id} stands already" if there else f"no rule {change.id} stands"
        elif change.rule is not None:
            self.rules[change.id] = change.rule
        else:
            del self.rules[change.id]
        fence = {each: 7 for each in ("0", *self.others) if each not in refused}
        return RuleTaken(action=change.action, id=change.id, fence=fence, refused=refused, everywhere=True)

    def backtest(self, rule: Rule, begin: int | None, end: int | None) -> Backtest:
        vocabulary().check(rule)
        if begin is not None and self.log_ends is not None and begin > self.log_ends:
            raise InputError("expected a stretch on the log")
        self.tried.append((rule, begin, end))
        return Backtest(
            rule=rule, fired=7, cleared=6, plain_fired=41, by_symbol={"SIMA": 7}, alerts=[alert(NOW_NS)], log_id="sim-1",
            ranges={"0": (0, 9)}, records=9, seconds=0.1, complete=True,
        )  # fmt: skip


@dataclass
class AlertList:
    """`AlertHistory` over a list."""

    said: list[Alert] = field(default_factory=list)

    def alerts(self, rule: str, symbol: str, span: Span) -> Sequence[Alert]:
        chosen = [
            each for each in self.said
            if rule in ("", each.rule) and symbol in ("", each.symbol) and span.start <= each.ts_event < span.end
        ]  # fmt: skip
        return sorted(chosen, key=lambda each: -each.ts_event)[: span.limit]


@pytest.fixture
def rules() -> RuleList:
    return RuleList()


@pytest.fixture
def client(rules: RuleList) -> TestClient:
    said = [alert(NOW_NS - 10 * k, symbol) for k in (3, 1, 2) for symbol in ("SIMA", "SIMB")]
    return TestClient(World(more={"rules": rules, "alerts": AlertList([*said, alert(NOW_NS - 5, rule="other")])}).app())


JSON = {"content-type": "application/json"}


def body(rule: Rule) -> bytes:
    return msgspec.json.encode(rule)


def test_a_rule_is_added_shown_changed_and_removed(client: TestClient, rules: RuleList) -> None:
    answer = client.post("/v1/alerts/rules", content=body(RULE), headers=JSON)
    assert (answer.status_code, answer.json()["fence"]) == (200, {"0": 7})
    assert client.get("/v1/alerts/rules").json()["data"][0]["rule"]["id"] == "falls"
    assert client.get("/v1/alerts/rules/falls").json()["rule"]["conditions"][0]["hysteresis"] == 0.5
    again = client.post("/v1/alerts/rules", content=body(RULE), headers=JSON)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/rule-refused")
    assert again.json()["detail"] == "falls stands already"
    other = msgspec.structs.replace(RULE, dwell_s=5)
    assert client.post("/v1/alerts/rules?replace=true", content=body(other), headers=JSON).status_code == 200
    assert rules.rules["falls"].dwell_s == 5
    assert client.delete("/v1/alerts/rules/falls").status_code == 200
    assert client.delete("/v1/alerts/rules/falls").status_code == 409
    assert client.get("/v1/alerts/rules/falls").status_code == 404


def test_a_rule_that_only_some_partitions_refuse_is_taken_and_they_are_told(
    client: TestClient, rules: RuleList
) -> None:
    rules.others = ("1",)
    assert client.post("/v1/alerts/rules", content=body(RULE), headers=JSON).json()["refused"] == {}
    half = client.post("/v1/alerts/rules", content=body(RULE), headers=JSON)
    assert (half.status_code, half.json()["fence"]) == (200, {"1": 7})
    assert half.json()["refused"] == {"0": "falls stands already"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "Input data was truncated"),
        (b'{"id": "a b", "conditions": []}', "at `$.id`"),
        (b'{"id": "a", "conditions": [{"field": "mid", "op": "=", "threshold": 1}]}', "at `$.conditions[0].op`"),
        (b'{"id": "a", "conditions": [{"field": "mdi", "op": ">", "threshold": 1}]}', "did you mean mid?"),
        (b'{"id": "a", "conditions": [{"field": "mid", "op": "z_score", "threshold": 1}]}', "conditions[0].window_s"),
        (b"[" * 70_000, "expected at most 65536 bytes"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_told_what_is_wrong(client: TestClient, content: bytes, told: str) -> None:
    answer = client.post("/v1/alerts/rules", content=content, headers=JSON)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]


@pytest.mark.parametrize("sent", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_a_foreign_page_could_send_is_refused(client: TestClient, rules: RuleList, sent: str) -> None:
    answer = client.post("/v1/alerts/rules", content=body(RULE), headers={"content-type": sent})
    assert (answer.status_code, rules.rules) == (422, {})
    assert answer.json()["errors"][0]["where"] == "header.content-type"


def test_a_back_test_of_a_rule_that_cannot_be_judged_says_so_too(client: TestClient, rules: RuleList) -> None:
    wrong = {"id": "a", "conditions": [{"field": "mdi", "op": ">", "threshold": 1}]}
    answer = client.post("/v1/alerts/rules/backtest", json={"rule": wrong})
    assert (answer.status_code, "did you mean mid?" in answer.json()["detail"], rules.tried) == (422, True, [])


def test_a_back_test_answers_before_anything_stands(client: TestClient, rules: RuleList) -> None:
    asked = {"rule": msgspec.to_builtins(RULE), "start": "2026-11-01T00:00:00Z"}
    answer: dict[str, Any] = client.post("/v1/alerts/rules/backtest", json=asked).json()
    assert answer["sentence"] == "fired 41 times, 7 with this hysteresis and this dwell"
    assert (answer["fired"], answer["plain_fired"], answer["alerts"][0]["state"]) == (7, 41, "fired")
    assert rules.tried == [(RULE, 1_793_491_200_000_000_000, None)]
    assert rules.rules == {}
    wrong = client.post("/v1/alerts/rules/backtest", json={**asked, "end": "tomorrow"})
    assert wrong.json()["errors"][0]["where"] == "body.end"


def test_a_back_test_over_a_stretch_that_cannot_be_is_the_clients_mistake(client: TestClient, rules: RuleList) -> None:
    asked = {"rule": msgspec.to_builtins(RULE), "start": "2026-11-01T00:00:00Z"}
    for end in ("2026-11-01T00:00:00Z", "2026-10-31T00:00:00Z"):
        answer = client.post("/v1/alerts/rules/backtest", json={**asked, "end": end})
        assert (answer.status_code, answer.json()["errors"][0]["where"], rules.tried) == (422, "body.end", [])
    rules.log_ends = 1
    answer = client.post("/v1/alerts/rules/backtest", json=asked)
    assert (answer.status_code, answer.json()["detail"]) == (422, "body: expected a stretch on the log")


def test_alerts_come_newest_first_page_by_page_and_none_twice(client: TestClient) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/alerts?rule=falls&limit=3{cursor}").json()
        seen += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 6
    assert [each["symbol"] for each in client.get("/v1/alerts?symbol=SIMB").json()["data"]] == ["SIMB"] * 3
    assert len(client.get("/v1/alerts").json()["data"]) == 7
    assert client.get("/v1/alerts?start=x").status_code == 422


def test_every_answer_and_body_of_alerts_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    described = {path for path in document["paths"] if path.startswith("/v1/alerts")}
    assert described == {
        "/v1/alerts", "/v1/alerts/rules", "/v1/alerts/rules/{rule}", "/v1/alerts/rules/backtest",
    }  # fmt: skip
    assert {
        "Rule",
        "Condition",
        "RuleTaken",
        "StandingRule",
        "Said",
        "SaidPage",
        "Tried",
        "BacktestRequest",
    } <= schemas.keys()


def test_without_rules_there_is_nothing_under_alerts() -> None:
    assert TestClient(World().app()).get("/v1/alerts/rules").status_code == 404

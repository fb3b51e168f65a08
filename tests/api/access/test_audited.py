"""Logins and refusals are recorded, once each, and never what was shown."""

from dataclasses import dataclass, field

import msgspec
from fastapi.testclient import TestClient

from api.access.ports import Access
from schemas.errors import AccessError
from tests.api.access.keys import Keys
from tests.api.access.limiter import Count
from tests.api.fakes import World
from tests.api.test_alerts import RULE, AlertList, RuleList


@dataclass
class Records:
    """`Audit` as a list."""

    lines: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    broken: bool = False

    def record(self, what: str, who: str, **detail: str) -> None:
        if self.broken:
            raise AccessError("no space left on device")
        self.lines.append((what, who, detail))


def test_a_login_is_recorded_once_and_each_refusal() -> None:
    records = Records()
    with TestClient(World(access=Access(Keys(), audit=records)).app()) as client:
        for _ in range(3):
            client.get("/v1/symbols", headers={"X-API-Key": "tk_viewer"})
        client.get("/v1/symbols", headers={"Authorization": "Bearer tk_canary"})
        client.get("/v1/symbols")
        client.get("/metrics", headers={"X-API-Key": "tk_viewer"})
        client.get("/healthz")
        client.get("/metrics", headers={"X-API-Key": "tk_admin"})
    assert [(what, who) for what, who, _ in records.lines] == [
        ("login", "key viewer"), ("refused", "address testclient"), ("refused", "address testclient"),
        ("refused", "key viewer"), ("login", "key admin"),
    ]  # fmt: skip
    assert [detail.get("problem") for _, _, detail in records.lines[1:4]] == [
        "unauthenticated",
        "unauthenticated",
        "forbidden",
    ]
    assert records.lines[3][2]["path"] == "/metrics"
    assert "canary" not in str(records.lines)


def test_whoever_changes_a_rule_is_recorded_and_so_is_what_is_refused() -> None:
    records, rules = Records(), RuleList()
    with TestClient(
        World(access=Access(Keys(), audit=records), more={"rules": rules, "alerts": AlertList()}).app()
    ) as client:
        raw, json = msgspec.json.encode(RULE), {"content-type": "application/json"}
        for role in ("analyst", "operator"):
            client.post("/v1/alerts/rules", content=raw, headers={"X-API-Key": f"tk_{role}", **json})
        client.get("/v1/alerts/rules", headers={"X-API-Key": "tk_operator"})
    assert [(what, who, detail.get("method")) for what, who, detail in records.lines] == [
        ("login", "key analyst", None), ("refused", "key analyst", None), ("login", "key operator", None),
        ("asked", "key operator", "POST"),
    ]  # fmt: skip
    assert records.lines[-1][2]["path"] == "/v1/alerts/rules"
    assert rules.asked[-1].by == "key operator"


def test_a_flood_of_bad_keys_does_not_fill_the_disk() -> None:
    records = Records()
    with TestClient(World(access=Access(Keys(), limiter=Count(4), audit=records)).app()) as client:
        for number in range(20):
            client.get("/v1/symbols", headers={"X-API-Key": f"tk_{number}"})
    assert len(records.lines) == 4


def test_an_audit_log_that_cannot_be_written_is_told_and_keeps_nobody_out(caplog: object) -> None:
    with TestClient(World(access=Access(Keys(), audit=Records(broken=True))).app()) as client:
        assert client.get("/v1/symbols", headers={"X-API-Key": "tk_viewer"}).status_code == 200
        assert client.get("/v1/symbols").status_code == 401
    assert "the audit log was not written" in caplog.text  # type: ignore[attr-defined]

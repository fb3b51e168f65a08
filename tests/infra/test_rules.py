"""Alert rules through the product: a rule goes over the log, fires, is stored and said; a back-test says the very same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.embedded.services import Embedded
from schemas.rules import Condition, Rule
from schemas.topics import ALERTS
from streams.rule_rows import alerts_of
from tests.logs import START, market
from tests.services.scoring import Scoring, scoring

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
CHANGES = Condition(field="mid", op="changes_by", threshold=4e-4, window_s=5.0, relative=True, hysteresis=2e-4)
RULE = Rule(id="moves", conditions=(CHANGES,), cool_down_s=5, symbols=("S0", "S1", "S2"), owner="desk")


@pytest.fixture
def deployment(embedded: Embedded, tmp_path: Path) -> Iterator[Scoring]:
    with scoring(embedded.as_dict(), tmp_path / "data", market(1_000)) as found:
        yield found


def told(deployment: Scoring, *arguments: str, code: int = 0) -> Any:
    """What a command says as JSON."""
    done = deployment.command(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_rule_fires_live_and_its_back_test_says_the_same(deployment: Scoring, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    file.write_bytes(msgspec.json.encode(RULE))
    with deployment.running():
        deployment.until_folded(deployment.oracle())
        fence = told(deployment, "rules", "add", str(file))["fence"]
        assert told(deployment, "rules", "add", str(file), code=1)["refused"]["0"].startswith("moves stands already")
        deployment.write(market(2_500, seed=8, start=START + 400 * 10**9))
        outputs = deployment.oracle()
        deployment.until_folded(outputs)
        (standing,) = told(deployment, "rules", "list")
    assert (standing["rule"]["id"], standing["fence"], standing["rev"]) == ("moves", fence, 1)
    recorded = (tmp_path / "data" / "access" / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["detail"] for line in recorded if '"rule add"' in line] == [{"rule": "moves"}] * 2
    said = [alert for output in outputs for alert in alerts_of(deployment.kafka.log_id, output)]
    assert len(said) > 10
    assert sorted(deployment.rows("SELECT id, state FROM alerts")) == sorted((each.id, each.state) for each in said)
    assert sorted(deployment.said_on(ALERTS)) == sorted((each.src_partition, each.src_offset) for each in said)
    assert told(deployment, "verify")["wrong"] == 0
    begin = ",".join(f"{partition}:{offset + 1}" for partition, offset in fence.items())
    tried = told(deployment, "rules", "backtest", str(file), "--from", begin)
    assert sorted(each["id"] for each in tried["alerts"]) == sorted(each.id for each in said)
    assert tried["plain_fired"] > tried["fired"] == sum(each.state == "fired" for each in said)
    shown = told(deployment, "rules", "show", "moves")
    assert {each["id"] for each in shown["alerts"]} <= {each.id for each in said}

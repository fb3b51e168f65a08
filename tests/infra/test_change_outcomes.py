"""What came of a change on the log: partitions may differ, and who stores the answers may be away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from api.model_answers import ModelChangeTaken
from infra.alert_rules import LiveRules
from infra.cli import model_changes, rule_commands
from infra.clickhouse import Database, Parameters, Result
from infra.models.desk import LiveModels
from infra.settings import Kafka, Settings
from schemas.control import ModelChange
from schemas.errors import DatabaseUnavailable
from schemas.rules import RuleChange, RuleTaken
from tests.api.fakes import StatusList

RETIRE = ModelChange(action="retire", model="mlp-1")
REMOVE = RuleChange(action="remove", id="falls")
SETTINGS = Settings(kafka=Kafka(partitions=3))
WHY = "it does not serve"


@dataclass
class Answers:
    """`Database`: what each partition has stored of any change; nothing at all where it is down."""

    refused: Mapping[int, str]
    down: bool = False

    def rows(self, sql: str, parameters: Parameters | None = None) -> Result:
        if self.down:
            raise DatabaseUnavailable("127.0.0.1:2: connection refused")
        return Result((), (), [(partition, 70 + partition, why) for partition, why in self.refused.items()])

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes onto the log, which is a list."""
    log: list[Any] = []

    def write(_: Kafka, change: Any, clock: Any) -> int:
        log.append(change)
        return 7

    monkeypatch.setattr("infra.models.desk.write_change", write)
    monkeypatch.setattr("infra.alert_rules.write_rule_change", write)
    monkeypatch.setattr("infra.cli.rule_commands.write_rule_change", write)
    monkeypatch.setattr("infra.cli.model_changes.ask", lambda settings, change: write(settings.kafka, change, None))
    for commands in ("model_changes", "rule_commands"):
        monkeypatch.setattr(f"infra.cli.{commands}.attached", lambda settings: settings)
    monkeypatch.setattr("infra.cli.rule_commands.record_command", lambda *_, **__: None)
    return log


def changed(answers: Answers) -> list[ModelChangeTaken | RuleTaken]:
    """What is told of a change of the models, and of one of the rules."""
    database = cast(Database, answers)
    models, rules = LiveModels(SETTINGS, database, StatusList([])), LiveRules(SETTINGS, database)
    return [models.change(RETIRE), rules.change(REMOVE)]


def test_a_change_is_in_force_where_it_was_not_refused() -> None:
    for found in changed(Answers({0: "", 1: WHY, 2: ""})):
        assert (found.fence, found.refused, found.everywhere) == ({"0": 70, "2": 72}, {"1": WHY}, True)


def test_a_change_that_is_on_the_log_is_no_error_where_nobody_can_tell_what_came_of_it(written: list[Any]) -> None:
    for found in changed(Answers({}, down=True)):
        assert (found.fence, found.refused, found.everywhere) == ({}, {}, False)
    assert written == [RETIRE, REMOVE]


@pytest.mark.parametrize(
    ("refused", "out", "err"),
    [
        ({0: "", 1: WHY, 2: ""}, "{0}: in force behind 0:70, 2:72\n", "{0}: refused by 1: it does not serve\n"),
        (dict.fromkeys(range(3), WHY), "", "{0}: refused: it does not serve\n"),
    ],
)
def test_the_commands_say_where_a_change_is_in_force_and_where_not(
    refused: Mapping[int, str], out: str, err: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for commands in ("model_changes", "rule_commands"):
        monkeypatch.setattr(f"infra.cli.{commands}.connect", lambda url, timeout_s: Answers(refused))
    assert model_changes.change(SETTINGS, "retire", "mlp-1", "desk", "", as_json=False) == 1
    assert capsys.readouterr() == (out.format("retire mlp-1"), err.format("retire mlp-1"))
    assert rule_commands.remove(SETTINGS, "falls", "desk", "", as_json=False) == 1
    assert capsys.readouterr() == (out.format("remove falls"), err.format("remove falls"))

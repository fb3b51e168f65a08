"""What `tickwire watch-drift` watches, and what it hands orders and verdicts to."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.cli.drift import chosen
from infra.drift.actions import ByItself, Policy, Programs
from infra.drift.live import Live
from infra.drift.process import watched_model
from infra.drift.reference import save_reference
from infra.settings import Settings
from models.drift_reference import reference_of
from models.manifest import save
from schemas.drift import RetrainOrder, Verdict
from schemas.errors import SettingsError
from tests.models.quiet_market import WINDOW, day
from tests.models.rows import described, logistic

ORDER = RetrainOrder(id="o1", model="m1", ts_event=1, reasons=("because",), evidence=())
WON = Verdict(
    kind="promote", champion="m1", challenger="c1", ts_event=9, labels=2_000, blocks=40, gain=0.02, low=0.01, high=0.03
)


def lost() -> Verdict:
    return msgspec.structs.replace(WON, kind="reject", gain=-0.02, low=-0.03, high=-0.01)


@dataclass
class Running:
    """Who scores, and what was said on the log."""

    now: Live = field(default_factory=lambda: Live("m1", ("c1", "c2")))
    said: list[tuple[str, str]] = field(default_factory=list)

    def live(self) -> Live:
        return self.now

    def change(self, action: str, model: str, why: str) -> None:
        assert "gain of log loss over m1" in why
        self.said.append((action, model))


def by_itself(log: Running, policy: Policy = "person") -> ByItself:
    return ByItself(log, None, policy)  # type: ignore[arg-type]


def test_a_model_is_watched_once_it_has_a_reference(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    content = logistic()
    manifest = msgspec.structs.replace(described(content, [[0.0, 0.0, 0.0]], [0.5]), name="mlp")
    save(manifest, content, tmp_path / "models")
    assert watched_model(settings, manifest.id) is None
    reference = reference_of(day(1).dataset(), WINDOW)
    save_reference(settings, manifest.id, reference)
    watched = watched_model(settings, manifest.id)
    assert watched is not None
    assert (watched.id, watched.reference) == (manifest.id, reference)
    assert np.isnan(watched.promised)
    save_reference(settings, "online", reference)
    assert watched_model(settings, "online") is not None, "it has no manifest"


def test_by_default_a_person_promotes_and_only_what_has_lost_is_retired(capsys: pytest.CaptureFixture[str]) -> None:
    log = Running()
    by_itself(log).judged(WON)
    assert log.said == []
    assert "tickwire models promote c1" in capsys.readouterr().out
    by_itself(log).judged(lost())
    assert log.said == [("retire", "c1")]


def test_by_verdict_what_has_won_is_promoted_once() -> None:
    log = Running()
    by_itself(log, "verdict").judged(WON)
    assert log.said == [("promote", "c1")]
    log.now = Live("c1", ("c2",))
    by_itself(log, "verdict").judged(WON)
    assert log.said == [("promote", "c1")], "killed before it was noted: it serves already"


@pytest.mark.parametrize("now", [Live("m2", ("c1",)), Live("m1", ("c2",)), Live("online", ("c1",))])
def test_what_has_won_against_another_champion_or_scores_no_longer_is_left_to_a_person(now: Live) -> None:
    log = Running(now)
    by_itself(log, "verdict").judged(WON)
    assert log.said == []


def test_a_challenger_that_was_retired_already_is_not_retired_again() -> None:
    log = Running(Live("m1", ("c2",)))
    by_itself(log).judged(lost())
    by_itself(log).judged(msgspec.structs.replace(WON, kind="undecided"))
    assert log.said == []


def test_a_training_program_gets_the_order_and_its_last_line_names_the_challenger(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import sys, json\norder = json.load(sys.stdin)\nprint('working')\n"
        "print(json.dumps({'challenger': order['id'] + '-' + order['role']}))\n"
    )
    assert Programs((sys.executable, str(program)), (), by_itself(Running())).retrain(ORDER) == "o1-challenger"


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('no json')", "print('[1]')", "pass"])
def test_a_training_program_that_fails_or_says_nothing_has_made_nothing(program: str) -> None:
    assert Programs((sys.executable, "-c", program), (), by_itself(Running())).retrain(ORDER) == ""


def test_where_trainings_are_off_nobody_is_trained() -> None:
    assert Programs((), (), by_itself(Running())).retrain(ORDER) == ""


def test_options_are_held_against_the_settings() -> None:
    found = chosen(Settings(), promotion="verdict", window_s=120, false_alarms=0.01).drift
    assert (found.promotion, found.window.total_seconds(), found.false_alarms_per_day) == ("verdict", 120, 0.01)
    assert chosen(Settings(), promotion="", window_s=0, false_alarms=0) == Settings()
    for wrong in ({"promotion": "anyone"}, {"window_s": 5}, {"false_alarms": 2}):
        with pytest.raises(SettingsError, match=f"--{next(iter(wrong)).split('_')[0]}"):
            chosen(Settings(), **{"promotion": "", "window_s": 0, "false_alarms": 0} | wrong)

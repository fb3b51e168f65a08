"""One order, carried out: the stretch, the training, the challenger; killed anywhere it makes one and the same model."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from infra.drift.live import Live
from infra.drift.training import ANSWER_WITHIN_NS, TRIES, Carried, Spans, Training, nightly_child
from schemas.drift import RetrainOrder
from schemas.errors import ModelError
from tests.services.processes import until

S = 1_000_000_000
NOW = 1_000_000 * S
ORDER = RetrainOrder(id="ab12", model="m1", ts_event=5_000 * S, since=4_400 * S, reasons=("drift",), evidence=())
TRAIN_ON = 7_200 * S
KEPT = {"kept": {"model_id": "c1", "version": "3", "fault": "", "reference": ""}}


@dataclass
class Market:
    """Who scores, what was asked for, and the log's stretch; the fold takes what it is asked for, unless it refuses."""

    challengers: tuple[str, ...] = ()
    serving: str = "m1"
    refuses: str = ""
    drops: bool = False
    """What was taken scores no longer."""
    silent: bool = False
    cannot: str = ""
    asked: list[str] = field(default_factory=list)
    stretches: list[tuple[int, int]] = field(default_factory=list)
    there: Spans = field(default_factory=lambda: {0: (10, 90), 2: (5, 50)})

    def spans(self, begin_ns: int, end_ns: int) -> tuple[str, Spans]:
        self.stretches.append((begin_ns, end_ns))
        return "log", self.there

    def live(self) -> Live:
        return Live(self.serving, self.challengers)

    def challenge(self, model: str, order: RetrainOrder) -> int:
        assert order == ORDER
        self.asked.append(model)
        if self.cannot:
            raise ModelError(self.cannot)
        if not (self.refuses or self.drops or self.silent):
            self.challengers = (*self.challengers, model)
        return NOW

    def answer(self, asked_ns: int) -> str | None:
        assert asked_ns == NOW
        return None if self.silent else self.refuses


@dataclass
class Bench:
    """A training whose child is a line of Python; `at` is the clock."""

    folder: Path
    market: Market
    says: str = f"print({json.dumps(json.dumps(KEPT))})"
    at: int = NOW
    commands: list[Carried] = field(default_factory=list)

    def training(self) -> Training:
        """Another process, as after a kill."""

        def command(carried: Carried, matrix: Path) -> list[str]:
            self.commands.append(carried)
            return [sys.executable, "-I", "-S", "-c", self.says, str(matrix)]

        return Training(self.folder, TRAIN_ON, self.market, command, lambda: self.at)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "orders", Market())


def carried_out(training: Training) -> str:
    """Steps until something has come of the order."""
    found: list[str | None] = []

    def done() -> bool:
        found.append(training.step(ORDER))
        return found[-1] is not None

    until("the order is carried out", done, within_s=60)
    return str(found[-1])


def test_it_trains_on_what_came_since_the_drift_once_that_is_long_enough(bench: Bench) -> None:
    training = bench.training()
    assert training.step(ORDER) is None
    bench.at += TRAIN_ON - 601 * S  # noticed 600 s after the window began
    assert training.step(ORDER) is None
    assert bench.commands == []
    bench.at += S
    assert carried_out(training) == "c1"
    begin = NOW - 600 * S
    assert bench.market.stretches == [(begin, begin + TRAIN_ON)]
    assert [each.spans for each in bench.commands] == [{0: (10, 90), 2: (5, 50)}]
    assert bench.market.asked == ["c1"]


@pytest.mark.parametrize("kills", [1, 2, 3])
def test_killed_and_started_again_it_keeps_its_stretch_and_makes_one_challenger(bench: Bench, kills: int) -> None:
    assert bench.training().step(ORDER) is None
    bench.at += TRAIN_ON
    for _ in range(kills):
        dying = bench.training()
        dying.step(ORDER)  # its child is at work
        dying.stop()
        bench.market.there = {0: (999, 1_000)}
    assert carried_out(bench.training()) == "c1"
    assert {json.dumps(msgspec.to_builtins(each.spans)) for each in bench.commands} == {'{"0": [10, 90], "2": [5, 50]}'}
    assert bench.market.asked == ["c1"]
    before = len(bench.commands)
    assert carried_out(bench.training()) == "c1", "killed before it was noted that the order is done"
    assert len(bench.commands) == before
    assert bench.market.asked == ["c1"]


@pytest.mark.parametrize("why", ["drops", "cannot"])
def test_a_challenger_that_scores_no_longer_or_cannot_ends_the_order(bench: Bench, why: str) -> None:
    setattr(bench.market, why, True if why == "drops" else "its file is gone")
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert bench.market.asked == ["c1"]


def test_an_answer_is_waited_for_and_not_for_ever(bench: Bench) -> None:
    bench.market.silent = True
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    until("the challenge", lambda: training.step(ORDER) is None and bench.market.asked == ["c1"], within_s=60)
    assert training.step(ORDER) is None
    bench.at = NOW + ANSWER_WITHIN_NS
    assert training.step(ORDER) == ""
    bench.market.silent = False
    bench.market.challengers = ("c1",)
    assert training.step(ORDER) == "c1", "the answer came at last"


def test_killed_between_the_asking_and_its_note_it_finds_the_challenger(bench: Bench) -> None:
    bench.at += TRAIN_ON
    bench.training().step(ORDER)
    made = Carried(order=ORDER, begin_ns=0, until_ns=0, log_id="log", spans={0: (1, 2)}, model="c1")
    (bench.folder / "ab12.json").write_bytes(msgspec.json.encode(made))
    bench.market.challengers = ("c1",)
    assert bench.training().step(ORDER) == "c1"
    assert bench.market.asked == []


WRONG = ("print('{}')", "print('not json')", "print('{\"kept\": null}')", "pass")


@pytest.mark.parametrize("says", ["raise SystemExit(1)", *WRONG])
def test_a_training_that_fails_or_is_refused_has_made_nothing(bench: Bench, says: str) -> None:
    bench.says = says
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert bench.market.asked == []
    assert len(bench.commands) == 1, "trying again does not change it"


def test_a_matrix_that_another_process_holds_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.drift.training.AGAIN_AFTER_S", 0.0)
    flag = bench.folder.parent / "second"
    bench.says = (
        f"import pathlib\nflag = pathlib.Path({str(flag)!r})\n"
        f"if not flag.exists():\n    flag.touch()\n    raise SystemExit({os.EX_TEMPFAIL})\n{bench.says}"
    )
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == "c1"
    assert len(bench.commands) == 2


BROKEN = ("raise SystemExit(2)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


@pytest.mark.parametrize("says", BROKEN)
def test_a_training_that_could_not_be_done_is_tried_again_after_a_pause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    bench.says, well = says, bench.says
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    training.step(ORDER)
    monkeypatch.setattr("infra.drift.training.TRY_AGAIN_AFTER_S", 0.0)
    until("the child has failed", lambda: training.step(ORDER) is None and len(bench.commands) > 1, within_s=60)
    bench.says = well
    assert carried_out(training) == "c1"


@pytest.mark.parametrize("says", BROKEN)
def test_a_training_that_never_can_be_done_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr("infra.drift.training.TRY_AGAIN_AFTER_S", 0.0)
    bench.says = says
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert len(bench.commands) == TRIES
    assert training.step(ORDER) is None, "another order has its own tries"
    training.stop()


def test_between_two_tries_there_is_a_pause(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.says = BROKEN[0]
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    said = ""

    def told() -> bool:
        nonlocal said
        assert training.step(ORDER) is None
        said += capsys.readouterr().out
        return "tried again" in said

    until("the child has failed", told, within_s=60)
    assert training.step(ORDER) is None
    assert len(bench.commands) == 1


def test_a_registry_that_is_down_is_told_and_the_challenger_scores(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    down = {"kept": KEPT["kept"] | {"version": "", "fault": "MLflow did not answer"}}
    bench.says = f"print({json.dumps(json.dumps(down))})"
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == "c1"
    assert "MLflow did not answer" in capsys.readouterr().out


def test_what_the_fold_refuses_is_no_challenger(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.market.refuses = "4 challengers score already; retire one"
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert "4 challengers score already" in capsys.readouterr().out


def test_the_model_that_serves_is_no_challenger_of_itself(bench: Bench) -> None:
    bench.market.serving = "c1"
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert bench.market.asked == []


def test_a_stretch_in_which_nothing_came_makes_nothing(bench: Bench) -> None:
    bench.market.there = {}
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert training.step(ORDER) == ""
    assert bench.commands == []


def test_the_matrix_is_thrown_away_and_its_report_kept(bench: Bench) -> None:
    bench.says = (
        "import pathlib, sys\nmatrix = pathlib.Path(sys.argv[1])\nmatrix.mkdir()\n"
        f"(matrix / 'report.md').write_text('all is well')\n{bench.says}"
    )
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == "c1"
    assert (bench.folder / "ab12.md").read_text() == "all is well"
    assert not (bench.folder / "ab12.matrix").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_the_matrix_of_an_order_of_which_nothing_comes_is_thrown_away_too(bench: Bench, code: int) -> None:
    bench.says = (
        "import pathlib, sys\nmatrix = pathlib.Path(sys.argv[1])\nmatrix.mkdir()\n"
        f"(matrix / 'report.md').write_text('too few rows')\nraise SystemExit({code})"
    )
    training = bench.training()
    training.step(ORDER)
    bench.at += TRAIN_ON
    assert carried_out(training) == ""
    assert (bench.folder / "ab12.md").read_text() == "too few rows"
    assert not (bench.folder / "ab12.matrix").exists()


def test_killed_while_the_matrix_is_thrown_away_it_goes_on_and_has_its_report(bench: Bench) -> None:
    bench.training().step(ORDER)
    made = Carried(order=ORDER, begin_ns=0, until_ns=0, log_id="log", spans={0: (1, 2)}, model="c1")
    (bench.folder / "ab12.json").write_bytes(msgspec.json.encode(made))
    (bench.folder / "ab12.md").write_text("all is well")
    (bench.folder / "ab12.matrix").mkdir()
    assert carried_out(bench.training()) == "c1"
    assert (bench.folder / "ab12.md").read_text() == "all is well"
    assert not (bench.folder / "ab12.matrix").exists()


def test_the_child_is_the_nightly_over_the_stretch_and_ends_with_us() -> None:
    carried = Carried(order=ORDER, begin_ns=0, until_ns=1, log_id="log", spans={2: (5, 50), 0: (10, 90)})
    command = nightly_child(carried, Path("/m"))
    wanted = ["nightly", "--from", "0:10,2:5", "--to", "0:90,2:50", "--json", "--into", "/m", "--log", "log"]
    assert command[-len(wanted) :] == wanted
    assert str(os.getpid()) in command

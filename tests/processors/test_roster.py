"""Which model serves, from the log alone: from the fence on, whatever the polls, and back again."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from weakref import ref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import Column, Matrix
from processors.scores import CHALLENGERS, Model
from processors.shard import FoldRules, Shard, ShardOutput
from processors.snapshot import decode_snapshot
from schemas.control import ModelChange, body_of, model_change
from schemas.errors import ModelError
from schemas.events import Control, Event
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import START, market, stretch

MODELS = {name: ConstantModel(p, name) for name, p in (("m1", 0.1), ("m2", 0.2), ("m3", 0.3), ("m4", 0.4), ("m5", 0.5))}
EVENTS = [event for event in market(400) if not isinstance(event, Control)]
RULES = FoldRules(learn_every=16)


@dataclass
class FailsAt:
    """Gives `wrong` for rows whose number in the log is in `at`: the number is what its first feature is set to."""

    id: str
    at: frozenset[int]
    wrong: float
    seen: int = 0

    def score(self, features: Matrix) -> Column:
        rows = np.arange(self.seen, self.seen + len(features))
        self.seen += len(features)
        return np.where(np.isin(rows, list(self.at)), self.wrong, 0.9)


def control(action: str, model: str) -> Control:
    change = ModelChange(action=action, model=model, by="a person")  # type: ignore[arg-type]
    return Control(topic="models", id=model, ts_event=START, ts_ingest=START, body=body_of(change))


def shard(given_: Model | None = None, snapshot: bytes | None = None) -> Shard:
    learner = CountingLearner.restored(decode_snapshot(snapshot).learner) if snapshot else CountingLearner()
    made = Shard(0, learner, given_ or ConstantModel(0.6, "m0"), rules=RULES, load=MODELS.get)
    if snapshot:
        made.restore(snapshot)
    return made


def with_changes(*changes: tuple[int, str, str]) -> list[Event]:
    """The market, with changes before these of its events."""
    out: list[Event] = []
    for at, event in enumerate(EVENTS):
        out += [control(action, model) for place, action, model in changes if place == at]
        out.append(event)
    return out


def fold(
    events: Sequence[Event], cuts: Sequence[int] = (), on: Shard | None = None, first: int = 0
) -> list[ShardOutput]:
    on, edges = on or shard(), [0, *sorted(cuts), len(events)]
    return [on.advance(stretch(events[a:b], first + a)) for a, b in pairwise(edges)]


def rows(outputs: Sequence[ShardOutput]) -> list[tuple[int, str, str, float, tuple[tuple[str, float], ...]]]:
    """(offset, champion, ONNX model, what clients see, challengers) of every row."""
    told = []
    for o in outputs:
        for r, event in enumerate(o.folded.tolist()):
            who = o.scores.line_ups[o.scores.line_up[r]]
            beside = tuple(
                (name, float(p)) for name, p in zip(who.challengers, o.scores.by_model[r, 2:], strict=True) if name
            )
            p_up = float(o.scores.p_up[r])
            told.append((int(o.stretch.offsets[event]), who.champion, who.onnx, p_up, beside))
    return told


def test_a_promoted_model_serves_from_the_fence_on() -> None:
    log = with_changes((100, "promote", "m1"))
    fence = next(i for i, event in enumerate(log) if isinstance(event, Control))
    told = rows(fold(log))
    assert {(onnx, p) for offset, _, onnx, p, _ in told if offset < fence} == {("m0", 0.6)}
    assert {(onnx, p) for offset, _, onnx, p, _ in told if offset > fence} == {("m1", 0.1)}
    assert len([1 for each in told if each[0] > fence]) > 50


def test_rollback_brings_back_what_served_before_and_only_of_the_one_that_serves() -> None:
    log = with_changes(
        (50, "promote", "m1"),
        (100, "promote", "m2"),
        (150, "rollback", "m1"),
        (200, "rollback", "m2"),
        (250, "rollback", "m1"),
    )
    served = [onnx for _, _, onnx, _, _ in rows(fold(log))]
    assert list(dict.fromkeys(served)) == ["m0", "m1", "m2"]
    assert [a for a, b in pairwise([*served, ""]) if a != b] == ["m0", "m1", "m2", "m1", "m0"]
    refused = [(c.change.model, c.refused) for o in fold(log) for c in o.changes if c.refused]
    assert refused == [("m1", "m1 does not serve, m2 does")]


@pytest.mark.parametrize("back", ["rollback", "quarantine"])
@pytest.mark.parametrize("then", [(), ((75, "promote", "online"),)])
def test_who_challenged_and_serves_again_challenges_no_more(back: str, then: tuple[tuple[int, str, str], ...]) -> None:
    last = "online" if then else "m1"
    log = with_changes((50, "promote", "m1"), *then, (100, "challenge", "m0"), (150, back, last), (160, back, "m1"))
    outputs = fold(log)
    assert [(onnx, beside) for _, _, onnx, _, beside in rows(outputs)][-1] == ("m0", ())


def test_who_was_promoted_by_name_serves_also_where_the_fold_is_given_another_later() -> None:
    first = shard(MODELS["m1"])
    log = with_changes((10, "promote", "m1"))
    before = fold(log[:200], on=first)
    after = fold(log[200:], on=shard(ConstantModel(0.6, "m0"), first.snapshot()), first=200)
    assert {onnx for _, _, onnx, _, _ in rows([*before, *after])} == {"m1"}


def test_the_online_model_can_serve_and_be_followed() -> None:
    told = rows(fold(with_changes((100, "promote", "online"), (200, "promote", "m0"))))
    assert [a for a, b in pairwise([*(champion for _, champion, _, _, _ in told), ""]) if a != b] == [
        "onnx",
        "online",
        "onnx",
    ]
    assert {onnx for _, _, onnx, _, _ in told} == {"m0"}


def test_challengers_score_beside_and_clients_never_see_them() -> None:
    told = rows(
        fold(
            with_changes(
                (50, "challenge", "m1"), (100, "challenge", "m2"), (150, "retire", "m1"), (200, "challenge", "m3")
            )
        )
    )
    assert {p for _, _, _, p, _ in told} == {0.6}
    assert list(dict.fromkeys(beside for *_, beside in told)) == [
        (), (("m1", 0.1),), (("m1", 0.1), ("m2", 0.2)), (("m2", 0.2),), (("m3", 0.3), ("m2", 0.2)),
    ]  # fmt: skip


def test_what_cannot_be_is_refused_with_its_reason_and_changes_nothing() -> None:
    log = with_changes(
        (10, "promote", "nobody"), (20, "challenge", "m0"), (30, "retire", "m1"), (40, "rollback", "m0"),
        *((50 + k, "challenge", f"m{k + 1}") for k in range(CHALLENGERS + 1)),
    )  # fmt: skip
    outputs = fold(log)
    assert [change.refused for o in outputs for change in o.changes if change.refused] == [
        "nobody is not among the models here, or cannot be used", "m0 scores already", "m1 is no challenger",
        "nothing served before m0", "4 challengers score already; retire one",
    ]  # fmt: skip
    assert {onnx for _, _, onnx, _, _ in rows(outputs)} == {"m0"}


def test_a_quarantined_model_is_never_used_again_and_the_one_before_it_serves() -> None:
    log = with_changes(
        (50, "promote", "m1"), (100, "quarantine", "m1"), (150, "promote", "m1"), (200, "challenge", "m1")
    )
    outputs = fold(log)
    served = [onnx for _, _, onnx, _, _ in rows(outputs)]
    assert [a for a, b in pairwise([*served, ""]) if a != b] == ["m0", "m1", "m0"]
    assert [c.refused for o in outputs for c in o.changes][-2:] == ["m1 is quarantined"] * 2


def test_a_quarantined_model_is_nothing_to_fall_back_to() -> None:
    outputs = fold(with_changes((50, "quarantine", "m0"), (100, "promote", "m1"), (150, "rollback", "m1")))
    assert [onnx for _, _, onnx, _, _ in rows(outputs)][-1] == "m1"
    assert [c.refused for o in outputs for c in o.changes] == ["", "", "nothing served before m1"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.01, 1.01])
def test_a_score_that_is_no_probability_quarantines_its_model_at_that_row(wrong: float) -> None:
    outputs = fold(EVENTS, on=shard(FailsAt("m0", frozenset([30]), wrong)))
    told = rows(outputs)
    assert [onnx for _, _, onnx, _, _ in told] == ["m0"] * 31 + ["none"] * (len(told) - 31)
    assert {p for _, _, _, p, _ in told[:30]} == {0.9}
    by_online = [p for *_, p, _ in rows(fold(EVENTS, on=Shard(0, CountingLearner(), None, rules=RULES)))]
    assert [p for *_, p, _ in told[30:]] == by_online[30:], "the online model stands in, also for the row itself"
    ((offset, change),) = [(int(o.stretch.offsets[c.event]), c.change) for o in outputs for c in o.changes]
    assert (change.action, change.model, change.by) == ("quarantine", "m0", "the fold")
    assert offset == told[30][0]


def test_models_that_are_quarantined_at_one_row_are_out_together() -> None:
    bad = {name: FailsAt(name, frozenset([0, 30]), np.nan) for name in ("c1", "c2")}
    made = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), rules=RULES, load=bad.get)
    outputs = fold([control("challenge", "c1"), control("challenge", "c2"), *EVENTS], on=made)
    changes = [c for o in outputs for c in o.changes if c.change.action == "quarantine"]
    assert [c.change.model for c in changes] == ["c1", "c2"]
    assert len({c.event for c in changes}) == 1
    assert {c.line_up.challengers for c in changes} == {("",) * CHALLENGERS}, "who scores the records behind them"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(EVENTS) - 1),
            st.sampled_from(["promote", "challenge", "retire", "rollback", "quarantine"]),
            st.sampled_from(["m0", "m1", "m2", "online", "nobody"]),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, len(EVENTS) - 1), max_size=5),
)
def test_however_the_log_is_cut_and_wherever_it_is_gone_on_the_same_models_score_the_same_rows(
    changes: list[tuple[int, str, str]], cuts: list[int]
) -> None:
    log = with_changes(*changes)
    whole = rows(fold(log))
    for _, _, onnx, _, beside in whole:
        assert len({onnx, *(name for name, _ in beside)}) == 1 + len(beside), "no model scores a row twice"
    cuts = sorted({*cuts})
    assert rows(fold(log, cuts)) == whole
    middle = len(log) // 2
    first = shard()
    before = fold(log[:middle], on=first)
    after = fold(log[middle:], on=shard(snapshot=first.snapshot()), first=middle)
    assert rows([*before, *after]) == whole


def test_an_outcome_names_the_models_that_had_said_its_scores() -> None:
    (output,) = fold(with_changes((100, "challenge", "m2"), (200, "promote", "m1")))
    m = output.outcomes
    names = [output.scores.line_ups[number].onnx for number in m.line_up.tolist()]
    fence = next(c.event for c in output.changes if c.change.action == "promote")
    assert names == ["m0" if predicted < fence else "m1" for predicted in m.stamps[:, 1].tolist()]
    assert set(names) == {"m0", "m1"}
    assert m.scores[:, 1].tolist() == [{"m0": 0.6, "m1": 0.1}[name] for name in names]


def test_a_model_that_is_gone_when_the_fold_goes_on_is_an_error_that_names_it() -> None:
    first, log = shard(), with_changes((100, "promote", "m1"))
    fold(log[:200], on=first)
    again = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), rules=RULES)
    again.restore(first.snapshot())
    with pytest.raises(ModelError, match="m1 scores by the log's word, but its file is gone"):
        again.advance(stretch(log[200:], 200))


def test_a_rollback_to_a_model_that_is_gone_is_refused_and_scoring_goes_on() -> None:
    here = dict(MODELS)
    made = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), rules=RULES, load=here.get)
    log = with_changes(
        (50, "promote", "m1"), (100, "promote", "m2"), (150, "promote", "m3"), (250, "rollback", "m3"),
        (300, "rollback", "m2"),
    )  # fmt: skip
    before = fold(log[:200], on=made)
    del here["m1"]
    after = fold(log[200:], on=made, first=200)
    served = [onnx for _, _, onnx, _, _ in rows([*before, *after])]
    assert list(dict.fromkeys(served)) == ["m0", "m1", "m2", "m3"]
    assert served[-1] == "m2"
    refused = [c.refused for o in after for c in o.changes]
    assert refused == ["", "m1, which served before m2, is gone or cannot be used; promote another"]


def test_models_that_score_no_more_are_let_go() -> None:
    loaded: list[ref[ConstantModel]] = []

    def load(name: str) -> ConstantModel | None:
        if name not in MODELS:
            return None
        model = ConstantModel(MODELS[name].p, name)
        loaded.append(ref(model))
        return model

    made = Shard(0, CountingLearner(), ConstantModel(0.6, "m0"), rules=RULES, load=load)
    steps = [(50 + 50 * n, "promote", f"m{n}") for n in (1, 2, 3, 4)]
    fold(with_changes(*steps, (270, "challenge", "m5"), (280, "retire", "m5")), on=made)
    gc.collect()
    assert sorted(model.id for each in loaded if (model := each()) is not None) == ["m3", "m4"]


@pytest.mark.parametrize(
    "body", ["", "{", '{"action":"delete","model":"m1"}', '{"action":"promote"}', '{"action":"promote","model":"../x"}']
)
def test_a_body_that_says_no_change_is_none(body: str) -> None:
    assert model_change(body) is None
    log: list[Event] = [
        *EVENTS[:50],
        Control(topic="models", id="x", ts_event=START, ts_ingest=START, body=body),
        *EVENTS[50:],
    ]
    outputs = fold(log)
    assert all(not o.changes for o in outputs)
    assert {onnx for _, _, onnx, _, _ in rows(outputs)} == {"m0"}

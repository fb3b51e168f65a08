"""The name under which the fold's state is kept: whatever decides what is folded changes it."""

from dataclasses import replace

import numpy as np

from infra.composition import step_name
from processors.sessions import Calendar, Sessions
from processors.shard import FoldRules


def calendar(hour: int) -> Calendar:
    days = np.arange(3, dtype=np.int64) * 24
    return Calendar(days, days + hour, days + hour + 8)


NEW_YORK, XETRA = calendar(14), calendar(8)
KEPT = Sessions({"XETR": XETRA, "XNYS": NEW_YORK}, {"USA": "XNYS", "DE": "XETR"})


def test_another_setting_of_calendars_is_another_state() -> None:
    """What is remembered of a symbol names its calendar by number: with one more before it, it would be another one's."""
    others = [
        Sessions(),
        Sessions({"XNYS": NEW_YORK}, {"USA": "XNYS"}),
        Sessions({"XETR": XETRA, "XNYS": NEW_YORK}, {"USA": "XETR", "DE": "XNYS"}),
        Sessions({"XETR": XETRA, "XNYS": calendar(15)}, {"USA": "XNYS", "DE": "XETR"}),
    ]
    names = {step_name(FoldRules(), each) for each in (KEPT, *others)}
    assert len(names) == 1 + len(others)


def test_the_same_rules_and_calendars_are_the_same_state_in_whatever_order_they_are_set() -> None:
    again = Sessions({"XETR": calendar(8), "XNYS": calendar(14)}, {"DE": "XETR", "USA": "XNYS"})
    assert step_name(FoldRules(), again) == step_name(FoldRules(), KEPT)
    assert step_name(replace(FoldRules(), learn_every=8), KEPT) != step_name(FoldRules(), KEPT)

"""What control events ask for: changes of the models and of the alert rules."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from processors.batch import Integers
from processors.columns import CONTROL, EventColumns, LogStretch
from processors.rules import RuleAsked
from processors.scoring import Asked
from schemas.control import MODELS, model_change
from schemas.rules import RULES, rule_change


def models_asked(stretch: LogStretch, events: EventColumns, folded: Integers) -> list[Asked]:
    """Changes of the models; a body that says none is no change, and the record is kept as it is."""
    found = []
    for event, control in _controls(stretch, events, MODELS):
        change = model_change(control.body)
        if change is not None:
            found.append(Asked(int(np.searchsorted(folded, event)), event, change))
    return found


def rules_asked(stretch: LogStretch, events: EventColumns) -> list[RuleAsked]:
    """Changes of the alert rules, those that cannot be read among them."""
    return [
        RuleAsked(event, control.id, rule_change(control.body)) for event, control in _controls(stretch, events, RULES)
    ]


def _controls(stretch: LogStretch, events: EventColumns, topic: str) -> Iterator[tuple[int, Any]]:
    for event in np.flatnonzero(events.kind == CONTROL).tolist():
        control: Any = stretch.events[event]
        if control.topic == topic:
            yield event, control

"""When to train again: a pure policy between what was noticed and what it costs.

Drift, or a fall of the scoreboard, leads to at most one training: not while another is going on or its challenger is on trial,
not before the cool-down has passed, not more often a day than there is budget for. What comes of it is a challenger and
nothing else; who becomes champion is for `models.promotion`, or a person.
"""

import math
from collections.abc import Sequence as Several
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from models.confidence import Sequence
from models.drift import DAY_NS, Block, signal_id
from schemas.drift import Declined, DriftSignal, Fall, RetrainOrder
from schemas.events import Ns


class RetrainRules(Struct, frozen=True, kw_only=True):
    """The price of training."""

    cool_down_ns: Annotated[int, Meta(ge=0)] = DAY_NS // 4
    """Of event time, from one order to the next."""
    per_day: Annotated[int, Meta(ge=1)] = 2
    """Orders in a UTC day of event time."""
    fall: Annotated[float, Meta(gt=0)] = 0.005
    """How much worse than promised, in log loss, is a fall of the scoreboard."""
    fall_alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    """Probability that a model which keeps its promise is ever said to have fallen."""


class Scoreboard(Struct, array_like=True):
    """How much worse than promised, and than a fall, the watched model was in each block; whether its fall was told.

    What was promised is a mean over rows, so a block counts by its rows: the sum over them of log loss − promised − fall.
    """

    excess: Sequence = msgspec.field(default_factory=Sequence)
    rows: int = 0
    told: bool = False

    def fold(self, block: Block, model: str, promised: float, rules: RetrainRules) -> Fall | None:
        """Take a block; a fall the first time that it is certain."""
        losses = block.losses(block.score)
        losses = losses[~np.isnan(losses)]
        if len(losses) == 0 or math.isnan(promised):
            return None
        fallen = promised + rules.fall
        self.excess.add(float(losses.sum()) - len(losses) * fallen)
        self.rows += len(losses)
        low = self.excess.mean - self.excess.radius(rules.fall_alpha)
        if self.told or not low > 0:
            return None
        self.told = True
        rows = self.rows / self.excess.n
        return Fall(
            model=model, ts_event=block.end_ns, promised=promised, log_loss=fallen + self.excess.mean / rows,
            low=fallen + low / rows, blocks=self.excess.n,
        )  # fmt: skip


class Standing(Struct, frozen=True, kw_only=True):
    """What was ordered, newest last; the order that is being carried out; the challenger that is on trial."""

    ordered: tuple[Ns, ...] = ()
    pending: RetrainOrder | None = None
    challenger: str = ""

    def hindrance(self, rules: RetrainRules, now_ns: int) -> str:
        """Why nothing may be ordered now; empty where it may."""
        if self.pending is not None:
            return f"order {self.pending.id} is being carried out"
        if self.challenger:
            return f"challenger {self.challenger} is on trial"
        if self.ordered and now_ns < self.ordered[-1] + rules.cool_down_ns:
            return f"the cool-down lasts {(self.ordered[-1] + rules.cool_down_ns - now_ns) / 1e9:.0f} s more"
        today = sum(each // DAY_NS == now_ns // DAY_NS for each in self.ordered)
        return f"{today} of {rules.per_day} trainings were ordered today" if today >= rules.per_day else ""

    def consider(
        self, evidence: Several[DriftSignal | Fall], model: str, now_ns: int, rules: RetrainRules
    ) -> tuple["Standing", RetrainOrder | Declined | None]:
        """What follows from what was noticed up to `now_ns`, and the standing after it."""
        if not evidence:
            return self, None
        reasons = tuple(reason_of(each) for each in evidence)
        if why := self.hindrance(rules, now_ns):
            return self, Declined(model=model, ts_event=now_ns, reasons=reasons, why=why)
        order = RetrainOrder(
            id=signal_id(model, "retrain", now_ns), model=model, ts_event=now_ns, reasons=reasons,
            evidence=tuple(each.id for each in evidence if isinstance(each, DriftSignal)),
            since=min([now_ns, *(each.start for each in evidence if isinstance(each, DriftSignal))]),
        )  # fmt: skip
        kept = tuple(each for each in self.ordered if each // DAY_NS == now_ns // DAY_NS)
        return msgspec.structs.replace(self, ordered=(*kept, now_ns), pending=order), order

    def registered(self, challenger: str) -> "Standing":
        """The order has been carried out: this is what came of it, empty where nothing did."""
        return msgspec.structs.replace(self, pending=None, challenger=challenger)

    def after(self, ordered: Several[int]) -> "Standing":
        """The same, knowing of these orders too: the budget is that of all models together."""
        return msgspec.structs.replace(self, ordered=tuple(sorted({*self.ordered, *ordered})))

    def judged(self) -> "Standing":
        """The trial is over."""
        return msgspec.structs.replace(self, challenger="")


def reason_of(evidence: DriftSignal | Fall) -> str:
    """One line for people."""
    if isinstance(evidence, Fall):
        return evidence.reason
    told = f"{evidence.test} {evidence.statistic:.3g} > {evidence.threshold:.3g}"
    return f"{evidence.kind} {evidence.what} of {evidence.symbol}: {told}"

"""Whether a challenger has won: the champion's log loss less its own, on the same live outcomes, from when both score.

The difference is taken by blocks of five minutes, which are nearly independent where rows are not, and judged by a confidence
sequence: it may be looked at after every block without the chance of a wrong promotion growing.
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from models.confidence import Sequence
from models.drift import DAY_NS, NS, Block
from schemas.drift import Verdict


class TrialRules(Struct, frozen=True, kw_only=True):
    """What a challenger must show."""

    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Probability that a challenger which is no better is ever promoted, or one which is no worse rejected."""
    least_labels: Annotated[int, Meta(ge=1)] = 2_000
    least_gain: Annotated[float, Meta(ge=0)] = 0.0
    """Of log loss, below which an exchange is not worth it."""
    block_ns: Annotated[int, Meta(gt=0)] = 300 * NS
    longest_ns: Annotated[int, Meta(gt=0)] = 5 * DAY_NS
    """Of event time: what is undecided by then, a person decides."""


class Trial(Struct, kw_only=True):
    """A challenger on live ticks; the values of the blocks so far and of the one at hand."""

    champion: str
    challenger: str
    began_ns: int = -1
    """The first block of the trial."""
    labels: int = 0
    gains: Sequence = msgspec.field(default_factory=Sequence)
    block: int = -1
    block_gain: float = 0.0
    block_labels: int = 0

    def fold(self, block: Block, rules: TrialRules) -> Verdict | None:
        """Take a block; the verdict once there is one."""
        number = block.start_ns // rules.block_ns
        self.began_ns = block.start_ns if self.began_ns < 0 else self.began_ns
        if number != self.block:
            verdict = self._ended(rules)
            self.block = number
            if verdict is not None:
                return verdict
        gain = block.losses(block.score) - block.losses(block.rival)
        gain = gain[~np.isnan(gain)]
        if len(gain):
            self.block_gain += float(gain.sum())
            self.block_labels += len(gain)
        return None

    def _ended(self, rules: TrialRules) -> Verdict | None:
        if self.block_labels:
            self.gains.add(self.block_gain / self.block_labels)
            self.labels += self.block_labels
            self.block_gain, self.block_labels = 0.0, 0
        return self._verdict((self.block + 1) * rules.block_ns, rules)

    def _verdict(self, now_ns: int, rules: TrialRules) -> Verdict | None:
        radius = self.gains.radius(rules.alpha)
        if self.gains.mean - radius > rules.least_gain and self.labels >= rules.least_labels:
            return self.ended("promote", now_ns, rules)
        if self.gains.mean + radius < 0:
            return self.ended("reject", now_ns, rules)
        if self.began_ns >= 0 and now_ns - self.began_ns >= rules.longest_ns:
            return self.ended("undecided", now_ns, rules)
        return None

    def ended(self, kind: Literal["promote", "reject", "undecided"], now_ns: int, rules: TrialRules) -> Verdict:
        """This verdict, with the evidence so far."""
        radius = self.gains.radius(rules.alpha)
        low, high = (self.gains.mean - radius, self.gains.mean + radius) if np.isfinite(radius) else (None, None)
        return Verdict(
            kind=kind, champion=self.champion, challenger=self.challenger, ts_event=now_ns, labels=self.labels,
            blocks=self.gains.n, gain=self.gains.mean, low=low, high=high,
        )  # fmt: skip

"""What a back-test of a rule answers: how often it would have fired, when, and how often without what holds it back."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from schemas.rows import Alert
from schemas.rules import Rule

MOST_ALERTS = 1_000
"""That are told one by one; all are counted."""


class Backtest(Struct, frozen=True, kw_only=True):
    """A rule over a stretch of the log, as if it had been added right before it."""

    rule: Rule
    fired: int
    cleared: int
    plain_fired: int
    """As often it would have fired without hysteresis, dwell and cool-down."""
    by_symbol: Mapping[str, int]
    """How often it fired."""
    alerts: Sequence[Alert]
    """The first `MOST_ALERTS`, in order of time: what live would have said, with the ids that it would have had."""
    log_id: str
    ranges: Mapping[str, tuple[int, int]]
    """Partition to the offsets `[first, end)` that were judged."""
    records: int
    """That were folded for it, those before the stretch too."""
    seconds: float
    complete: bool
    """False where the time was over: `ranges` says how far it came."""
    notes: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """As it is told to people."""
        held = [name for name, there in _brakes(self.rule) if there]
        if not held:
            return f"fired {_times(self.fired)}"
        return f"fired {_times(self.plain_fired)}, {self.fired} with this {' and this '.join(held)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _brakes(rule: Rule) -> Sequence[tuple[str, bool]]:
    return (
        ("hysteresis", any(each.hysteresis for each in rule.conditions)), ("dwell", rule.dwell_s > 0),
        ("cool-down", rule.cool_down_s > 0),
    )  # fmt: skip

"""What the drift watch says: the values of the topic `signals.drift.v1`, told apart by `type`."""

from typing import Literal, TypeAlias

from msgspec import Struct

from schemas.events import Ns


class DriftSignal(Struct, frozen=True, kw_only=True, gc=False, tag="drift"):
    """Something is no longer as it was when the model was trained, with the evidence for it."""

    id: str
    """A hash of what it is about and when: made again from the same log it is the same."""
    kind: Literal["input", "score", "residual"]
    test: Literal["psi", "page_hinkley", "adwin"]
    symbol: str
    """`*` where all symbols together, or several of them, have drifted."""
    what: str
    """The feature, `score` or `log_loss`."""
    model: str
    ts_event: Ns
    """When it was noticed: the end of the window or block."""
    start: Ns
    """Where the window of the evidence begins."""
    statistic: float
    """PSI; or the loss's cumulated (page_hinkley) or lasting (adwin) rise, in deviations of a block."""
    threshold: float
    """What the statistic had to exceed."""
    p_value: float | None
    """Corrected for all series that were tested (Holm); of adwin its delta; page_hinkley has none, its threshold is corrected."""
    tested: int
    """Series that were watched by the same test at that moment."""
    affected: tuple[str, ...]
    """Symbols that have drifted by themselves, at most 20 of them."""
    affected_n: int
    rows: int
    """In the window, of the symbol."""


class Fall(Struct, frozen=True, kw_only=True, tag="fall"):
    """The scoreboard of a model has fallen: even the lower bound of its live log loss is worse than promised."""

    model: str
    ts_event: Ns
    promised: float
    log_loss: float
    low: float
    blocks: int

    @property
    def reason(self) -> str:
        """For people."""
        return f"log loss {self.log_loss:.4f}, at least {self.low:.4f}, promised {self.promised:.4f}"


class RetrainOrder(Struct, frozen=True, kw_only=True, tag="retrain"):
    """Train again; register what comes of it as a challenger."""

    id: str
    """A hash of model and time: the same order again is to make the same challenger."""
    model: str
    """The one that has drifted, which stays champion."""
    ts_event: Ns
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]
    """Ids of the signals."""
    since: Ns = 0
    """Where the window of the earliest evidence begins: from here on the market is another one."""
    role: Literal["challenger"] = "challenger"


class Declined(Struct, frozen=True, kw_only=True, tag="declined"):
    """There was reason to train, and a better one not to."""

    model: str
    ts_event: Ns
    reasons: tuple[str, ...]
    why: str


class Verdict(Struct, frozen=True, kw_only=True, tag="verdict"):
    """How a trial ended, and why. `gain`: of mean log loss, with its confidence interval `[low, high]`."""

    kind: Literal["promote", "reject", "undecided"]
    champion: str
    challenger: str
    ts_event: Ns
    labels: int
    blocks: int
    gain: float
    low: float | None
    high: float | None


DriftEvent: TypeAlias = DriftSignal | Fall | RetrainOrder | Declined | Verdict

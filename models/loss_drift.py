"""Drift of what the model gets wrong: Page-Hinkley and ADWIN (river.drift) on the log loss of matured labels, by blocks.

What River's detectors need to be trusted, and get here: values of one scale (each series is standardised by its own first
blocks, `Baseline`), values that are nearly independent (a block's mean is one value; a label every second over a horizon of
ten is not), no forgetting factor in Page-Hinkley (its default leaks one part in 10,000 a value, and with it the false-alarm
rate), values within [0, 1] and a test at every value for ADWIN (its bound assumes the one; its default looks every 32nd).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from msgspec import Struct
from river.drift import ADWIN, PageHinkley
from river.stats import Mean
from scipy.special import chdtri

from models.drift import DAY_NS, NAMED, Block, DriftRules, signal_id
from models.drift_reference import ALL
from schemas.drift import DriftSignal

ALLOWANCE: Final = 0.5
"""Page-Hinkley's delta: a rise of the mean by less than half a deviation is never drift."""
LIMIT: Final = 3.0
"""Deviations beyond which a block counts as this far away: one wild minute is no drift."""
SURE: Final = 0.99
"""Confidence of the upper bound of the deviation that stands for it."""
STICKY: Final = 0.9


class Baseline(Struct, frozen=True, array_like=True):
    """Of a series in its first blocks: mean, and a deviation that the true one hardly exceeds."""

    mean: float
    deviation: float

    def standard(self, loss: float) -> float:
        """Deviations above the mean, within the limit."""
        return min(LIMIT, max(-LIMIT, (loss - self.mean) / self.deviation))


def baseline_of(losses: list[float]) -> Baseline:
    """Upper confidence bound of the long-run deviation: of the variance (chi-square), times that of the autocorrelation.

    With the plain deviation of 60 blocks a stated false-alarm rate of 5 % a day was 8 % for one series and 45 % for 50 (blocks
    with autocorrelation 0.3); so bounded, and from 120 blocks, 0.4 % and 0 to 3 %.
    """
    values = np.array(losses)
    n, centred = len(values), values - values.mean()
    total = float(centred @ centred)
    if total <= 0:
        return Baseline(float(values.mean()), 1e-9)
    resembling = float(centred[1:] @ centred[:-1]) / total + 2 / math.sqrt(n)
    resembling = min(STICKY, max(0.0, resembling))
    variance = total / float(chdtri(n - 1, SURE)) * (1 + resembling) / (1 - resembling)
    return Baseline(float(values.mean()), math.sqrt(variance))


@lru_cache(maxsize=4096)
def page_threshold(blocks: float) -> float:
    """Page-Hinkley's threshold, in deviations, at which a quiet series is alarmed once in so many blocks on average.

    Siegmund's approximation of a CUSUM's run length (Sequential Analysis, 1985, 2.56), by bisection.
    """
    low, high = 0.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        b = 2 * ALLOWANCE * (middle + 1.166)
        low, high = (middle, high) if (math.exp(b) - b - 1) / (2 * ALLOWANCE**2) < blocks else (low, middle)
    return high


def delta_of(rules: DriftRules) -> float:
    """ADWIN's: a quarter of a day's false alarms, shared by the tests of a day."""
    return rules.false_alarms_per_day / 4 * rules.block_ns / DAY_NS


class SeriesState(Struct, frozen=True, array_like=True):
    """One series: losses until there is a baseline, then the numbers of both detectors."""

    losses: list[float]
    baseline: Baseline | None
    page: tuple[float, float, float, float]
    adwin: bytes


@dataclass(slots=True)
class LossSeries:
    """The loss of one symbol, or of all together: first learnt, then watched. After a finding it is learnt anew.

    lasting: whether ADWIN watches too.
    """

    rules: DriftRules
    lasting: bool = False
    losses: list[float] = field(default_factory=list)
    baseline: Baseline | None = None
    page: PageHinkley = field(init=False)
    adwin: ADWIN | None = field(init=False)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.page = PageHinkley(
            min_instances=self.rules.baseline_blocks, delta=ALLOWANCE, threshold=math.inf, alpha=1.0, mode="up"
        )
        self.adwin = ADWIN(delta=delta_of(self.rules), clock=1) if self.lasting else None

    def learn_anew(self) -> None:
        """Forget what is usual."""
        self.losses, self.baseline = [], None
        self._begin()

    def take(self, loss: float, threshold: float) -> tuple[float | None, float | None]:
        """One block's mean loss: Page-Hinkley's and ADWIN's statistic where they find that it has risen, else None each."""
        if self.baseline is None:
            self.losses.append(loss)
            if len(self.losses) == self.rules.baseline_blocks:
                self.baseline = baseline_of(self.losses)
                for each in self.losses:
                    self._update(self.baseline.standard(each), math.inf)
                self.losses = []
            return None, None
        return self._update(self.baseline.standard(loss), threshold)

    def _update(self, value: float, threshold: float) -> tuple[float | None, float | None]:
        self.page.threshold = threshold
        self.page.update(value)
        page = self.page._sum_increase - self.page._min_increase if self.page.drift_detected else None
        return page, self._rise(value)

    def _rise(self, value: float) -> float | None:
        """What ADWIN finds; where the loss has fallen, that is the new normal."""
        if self.adwin is None:
            return None
        before = self.adwin.estimation
        self.adwin.update((value + LIMIT) / (2 * LIMIT))
        if not self.adwin.drift_detected:
            return None
        rise = (self.adwin.estimation - before) * 2 * LIMIT
        self.adwin = ADWIN(delta=delta_of(self.rules), clock=1)
        return float(rise) if rise > 0 else None

    def snapshot(self) -> SeriesState:
        """What is remembered."""
        page = self.page
        numbers = (page._x_mean.n, page._x_mean.get(), page._sum_increase, min(page._min_increase, 1e300))
        adwin = b"" if self.adwin is None else self.adwin._helper.__getstate__()
        return SeriesState(list(self.losses), self.baseline, numbers, adwin)

    @classmethod
    def restored(cls, state: SeriesState, rules: DriftRules) -> "LossSeries":
        """As if it had never stopped. The bytes must be those of `snapshot`: River ends the program for others."""
        made = cls(rules, bool(state.adwin), list(state.losses), state.baseline)
        n, mean, made.page._sum_increase, made.page._min_increase = state.page
        made.page._x_mean = Mean._from_state(n, mean)
        if made.adwin is not None:
            made.adwin._helper.__setstate__(state.adwin)
        return made


@dataclass(slots=True)
class LossDrift:
    """Watches the loss of one model: Page-Hinkley on every symbol and on all together, ADWIN on all together.

    Page-Hinkley's threshold grows with the number of series, so that they all raise no more false alarms than one would.
    """

    rules: DriftRules
    model: str
    series: dict[str, LossSeries] = field(default_factory=dict)

    def fold(self, block: Block) -> list[DriftSignal]:
        """Take the block's losses; what was found in it."""
        losses = block.losses(block.score)
        usable = np.flatnonzero(~np.isnan(losses))
        found: dict[str, float] = {}
        for row, name in enumerate(block.symbols):
            mine = usable[block.symbol[usable] == row]
            page, _ = self._take(name, losses[mine])
            if page is not None:
                found[name] = page
        page, adwin = self._take(ALL, losses[usable])
        return list(self._signals(block, found, page, adwin, len(usable)))

    def _take(
        self, name: str, losses: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    ) -> tuple[float | None, float | None]:
        if len(losses) < self.rules.least_labels:
            return None, None
        series = self.series.setdefault(name, LossSeries(self.rules, lasting=name == ALL))
        page, adwin = series.take(float(losses.mean()), self.threshold)
        if page is not None or adwin is not None:
            series.learn_anew()
        return page, adwin

    @property
    def threshold(self) -> float:
        """Of Page-Hinkley: all series together err in a quarter of the false alarms of a day."""
        per_day = DAY_NS / self.rules.block_ns * max(1, len(self.series))
        return page_threshold(per_day / (self.rules.false_alarms_per_day / 4))

    def _signals(
        self, block: Block, found: dict[str, float], page: float | None, adwin: float | None, rows: int
    ) -> Iterator[DriftSignal]:
        names = sorted(found)
        together = page is not None or len(names) > 1
        if page is not None or names:
            symbol = ALL if together else names[0]
            statistic = page if page is not None else max(found.values())
            yield self._signal(block, "page_hinkley", symbol, statistic, names, rows)
        if adwin is not None:
            yield self._signal(block, "adwin", ALL, adwin, [], rows)

    def _signal(
        self, block: Block, test: str, symbol: str, statistic: float, names: list[str], rows: int
    ) -> DriftSignal:
        adwin = test == "adwin"
        return DriftSignal(
            id=signal_id(self.model, test, symbol, "log_loss", block.end_ns), kind="residual",
            test="adwin" if adwin else "page_hinkley", symbol=symbol, what="log_loss", model=self.model,
            ts_event=block.end_ns, start=block.start_ns, statistic=statistic,
            threshold=0.0 if adwin else self.threshold,
            p_value=delta_of(self.rules) if adwin else None,
            tested=1 if adwin else len(self.series), affected=tuple(names[:NAMED]), affected_n=len(names), rows=rows,
        )  # fmt: skip

    def snapshot(self) -> dict[str, SeriesState]:
        """What is remembered, by symbol."""
        return {name: series.snapshot() for name, series in self.series.items()}

    def restore(self, state: dict[str, SeriesState]) -> None:
        """Take over what `snapshot` gave."""
        self.series = {name: LossSeries.restored(each, self.rules) for name, each in state.items()}

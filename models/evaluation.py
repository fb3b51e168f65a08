"""How good the scores of one candidate are, each number with its confidence interval (`models.bootstrap`).

Direction is judged where the price left the dead band (`moved`): log loss, Brier, calibration, hit rate. Correlation with
the return and the rule's profit (`models.trading`) are judged on every row.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.bootstrap import LEVEL, Blocks, Interval, percentile, reflected
from models.candidate import Contest
from models.dataset import Dataset
from models.model import Column
from models.trading import Trades, spread_of, traded
from schemas.errors import TrainingError

BINS: Final = 10
BASE_RATE: Final = "base rate"
"""The candidate that every other one is measured against."""
TINY: Final = 1e-15
BASIS_POINT: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows in bins of about as many, by score: mean score, share of ups, and how many, float64 [bins] each."""

    score: Column
    ups: Column
    rows: Column


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One candidate on n tested rows, of which `moved` have a direction."""

    name: str
    rows: int
    moved: int
    log_loss: Interval
    gain: Interval
    """Log loss of the base rate less this one's, on the same rows in the same draws: above 0 is better."""
    corrected: Interval
    """The gain at the level that allows for as many candidates as were tried (Bonferroni)."""
    over_strongest: Interval
    """The gain over the baseline that turned out to lose least, at that level too."""
    brier: Interval
    calibration_error: Interval
    """Mean distance of score and share of ups over the bins of `reliability` (ECE)."""
    hit_rate: Interval
    information: Interval
    """Spearman's correlation of score and return."""
    trades: int
    gross_bp: Interval
    """Mean of a trade before costs, in basis points."""
    net_bp: Interval
    """The same after costs."""
    reliability: Reliability
    net: Column
    """float64 [n]: what each row's trade earned after costs, 0 where none was made."""

    @property
    def beats_base_rate(self) -> bool:
        """With confidence, whichever of the candidates one had picked afterwards."""
        return self.corrected.low > 0.0

    @property
    def beats_baselines(self) -> bool:
        """Better than even the strongest baseline, with confidence."""
        return self.over_strongest.low > 0.0

    @property
    def profitable(self) -> bool:
        """The rule earned its costs, with confidence."""
        return self.net_bp.low > 0.0


def evaluate(
    held: Contest, blocks: Blocks, costs: Column | None = None, *, level: float = LEVEL
) -> list[Evaluation]:  # fmt: skip
    """Every candidate of the contest in its order; the base rate must be among them.

    costs: of a round trip, float64 [n]; the feature `spread` where left out. level: of every interval.
    """
    if BASE_RATE not in held.scores:
        raise TrainingError(f"everything is measured against {BASE_RATE!r}, which took no part in the contest")
    if not held.tested.moved.any():
        raise TrainingError("no tested price left the dead band: there is no direction to judge")
    costs = spread_of(held.tested) if costs is None else costs
    losses = {name: _losses(held.tested, p) for name, p in held.scores.items()}
    beaten = _Beaten(losses[BASE_RATE], losses[strongest_baseline(held)], level, max(1, len(losses) - 1))
    return [
        _evaluated(name, held.tested, p, beaten, traded(held.tested, p, costs), blocks)
        for name, p in held.scores.items()
    ]


def strongest_baseline(held: Contest) -> str:
    """The baseline of least log loss on the tested rows, picked with hindsight: the hardest to beat."""
    losses = {
        name: float(_losses(held.tested, held.scores[name]).sum()) for name in held.scores if name in held.baselines
    }
    return min(losses, key=lambda name: losses[name])


@dataclass(frozen=True, slots=True)
class _Beaten:
    """What losses are compared with, float64 [n] each, and how many comparisons are made."""

    base: Column
    strongest: Column
    level: float
    tried: int

    @property
    def corrected(self) -> float:
        return 1.0 - (1.0 - self.level) / self.tried


def _evaluated(name: str, tested: Dataset, p: Column, beaten: _Beaten, trades: Trades, blocks: Blocks) -> Evaluation:
    moved, losses = tested.moved.astype(np.float64), _losses(tested, p)
    gain, gains = blocks.ratio(beaten.base - losses, moved)
    error, errors, reliability = _calibration(tested, p, blocks)
    made, level = trades.made.astype(np.float64), beaten.level
    return Evaluation(
        name=name,
        rows=len(tested),
        moved=int(moved.sum()),
        log_loss=percentile(*blocks.ratio(losses, moved), level),
        gain=percentile(gain, gains, level),
        corrected=percentile(gain, gains, beaten.corrected),
        over_strongest=percentile(*blocks.ratio(beaten.strongest - losses, moved), beaten.corrected),
        brier=percentile(*blocks.ratio(moved * (p - tested.label) ** 2, moved), level),
        calibration_error=reflected(error, errors, level),
        hit_rate=percentile(*blocks.ratio(moved * _hits(tested, p), moved), level),
        information=percentile(*blocks.rank_correlation(p - 0.5, tested.returns), level),
        trades=int(made.sum()),
        gross_bp=percentile(*blocks.ratio(trades.gross / BASIS_POINT, made), level),
        net_bp=percentile(*blocks.ratio(trades.net / BASIS_POINT, made), level),
        reliability=reliability,
        net=trades.net,
    )


def of_symbol(held: Contest, number: int) -> Contest:
    """The same contest, of one symbol's rows only."""
    mine = held.tested.symbol == number
    scores = {name: p[mine] for name, p in held.scores.items()}
    return Contest(held.tested.taken(mine), held.trained_rows, scores, held.baselines)


def _losses(tested: Dataset, p: Column) -> Column:
    """Log loss of each row, in nats; 0 where the price did not move."""
    bounded = np.clip(p, TINY, 1.0 - TINY)
    said = np.where(tested.label == 1.0, bounded, 1.0 - bounded)
    return np.where(tested.moved, -np.log(said), 0.0)


def _hits(tested: Dataset, p: Column) -> Column:
    """1 where the direction was right, 0 where wrong, 0.5 where the score took no side."""
    return np.where(p == 0.5, 0.5, ((p > 0.5) == (tested.label == 1.0)).astype(np.float64))


def _calibration(tested: Dataset, p: Column, blocks: Blocks) -> tuple[float, Column, Reliability]:
    """The calibration error, that of every draw, and the bins; borders of bins are those of all rows."""
    inner = np.unique(np.quantile(p[tested.moved], np.arange(1, BINS) / BINS))
    bin_of = np.searchsorted(inner, p, side="left")
    columns: list[Column] = []
    for number in range(len(inner) + 1):
        here = ((bin_of == number) & tested.moved).astype(np.float64)
        columns += [here, here * p, here * tested.label]
    total, drawn = blocks.sums(columns)
    shape = (-1, len(inner) + 1, 3)
    whole = total.reshape(shape)
    kept = whole[0][whole[0][:, 0] > 0]
    reliability = Reliability(kept[:, 1] / kept[:, 0], kept[:, 2] / kept[:, 0], kept[:, 0])
    return float(_error(whole)[0]), _error(drawn.reshape(shape)), reliability


def _error(bins: np.ndarray) -> Column:
    """Σ |Σ score − Σ ups| / rows, of [draws, bins, (rows, scores, ups)]."""
    error: Column = np.abs(bins[:, :, 1] - bins[:, :, 2]).sum(axis=1) / bins[:, :, 0].sum(axis=1)
    return error

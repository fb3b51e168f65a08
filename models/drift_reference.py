"""What a model's inputs looked like when it was trained: kept beside the model, and what drift is measured against.

A window's PSI is not 0 where nothing has drifted: rows follow one another and moments of a day differ. How large it is then is
learnt from the reference itself: each of its own windows is compared with all the others. Those indices are taken as a scaled
chi-square (mean and variance matched, after Satterthwaite), so that a later window's index over their mean is F-distributed.
The indices are sums of unequal chi-squares, whose tails are heavier: a third of the degrees of freedom covers them (`TAIL`).
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta, Struct
from scipy.special import betaincinv, fdtrc

from models.dataset import Dataset, Integers
from models.model import Column
from models.psi import Bins, Counts, Flags, Floats, indices
from schemas.errors import ModelError, TrainingError

ALL: Final = "*"
"""Stands for every symbol together."""
FEWEST_WINDOWS: Final = 12
STICKY: Final = 0.9
TAIL: Final = 3.0
"""Measured on features of half-lives from 5 to 1500 s, windows of 900 s: quiet windows then have p below 0.01, 0.001, 1e-4 and
1e-5 at most 0.2, 0.2, 0.7 and 0 times as often as they may; with 1 in its place 2, 6, 19 and 78 times."""
Positive = Annotated[float, Meta(gt=0)]


class Quiet(Struct, frozen=True, array_like=True):
    """The index of one series while nothing drifts: mean, degrees of freedom, and those that its estimate has."""

    mean: Positive
    freedom: Positive
    behind: Positive


class Series(Struct, frozen=True, kw_only=True):
    """One feature of one symbol in the reference; `counts` by bin, the last for missing values."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quiet: Quiet


class Reference(Struct, frozen=True, kw_only=True):
    """Of a training matrix: its features by symbol, in quantile bins.

    `series[s][f]` is feature `features[f]` of `symbols[s]`; `together[f]` says what is usual for all symbols together.
    `rows[s]`: the median of a window, all windows being `window_ns` of event time.
    """

    symbols: tuple[str, ...]
    features: tuple[str, ...]
    window_ns: Annotated[int, Meta(gt=0)]
    bins: Annotated[int, Meta(ge=2, le=100)]
    rows: tuple[float, ...]
    series: tuple[tuple[Series, ...], ...]
    together: tuple[Quiet, ...]

    def encode(self) -> bytes:
        """As JSON, to be saved with the model."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> "Reference":
        """Back again; ModelError for anything else."""
        try:
            found = msgspec.json.decode(raw, type=cls)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ModelError(f"expected the drift reference of a model: {error}; train the model anew") from error
        widths = {len(row) for row in found.series} | {len(found.together), len(found.features)}
        if len(widths) != 1 or len({len(found.symbols), len(found.series), len(found.rows)}) != 1:
            raise ModelError(
                f"expected {len(found.symbols)} symbols of {len(found.features)} features, found other counts"
            )
        return found


def reference_of(
    dataset: Dataset,
    window_ns: int,
    *,
    bins: int = 10,
    scores: Mapping[str, Column] | None = None,
    without: Container[str] = (),
) -> Reference:
    """The reference of the rows a model is trained on; `scores`: of the model on them, one more column each.

    without: features that are not watched, such as clocks: in other hours than the reference's they always differ.
    Windows are aligned to the epoch. A symbol with rows in fewer than 12 windows is not watched. TrainingError where no
    symbol has so many: a false-alarm rate cannot be told from less.
    """
    columns, names = _columns(dataset, scores or {}, without)
    window = dataset.ts // window_ns
    watched = _watched(dataset, window, window_ns)
    number = np.full(len(dataset.symbols), -1)
    number[watched] = np.arange(len(watched))
    symbol = number[dataset.symbol]
    mine = symbol >= 0
    found = Bins.of(columns[mine], symbol[mine], len(watched), bins)
    by_window = [
        found.counts(columns[rows], symbol[rows])
        for each in np.unique(window[mine])
        for rows in [mine & (window == each)]
    ]
    told = tuple(dataset.symbols[row] for row in watched)
    return _summed(found, by_window, Reference(
        symbols=told, features=names, window_ns=window_ns, bins=bins, rows=(), series=(), together=()
    ))  # fmt: skip


def _summed(bins: Bins, by_window: list[Counts], empty: Reference) -> Reference:
    """The reference with what its windows hold."""
    rows = _usual_rows(by_window)
    total: Counts = np.add.reduce(by_window, axis=0)
    quiet = _quiet(by_window, total, bins, rows)
    series = tuple(
        tuple(
            Series(edges=tuple(edges[np.isfinite(edges)].tolist()), counts=tuple(n.tolist()), quiet=one)
            for edges, n, one in zip(bins.edges[s], total[s], quiet[s], strict=True)
        )
        for s in range(len(total))
    )
    return msgspec.structs.replace(empty, rows=tuple(rows.tolist()), series=series, together=tuple(quiet[-1]))


def _watched(dataset: Dataset, window: Integers, window_ns: int) -> list[int]:
    """Symbols with rows in enough windows."""
    found = [
        row for row in range(len(dataset.symbols)) if len(np.unique(window[dataset.symbol == row])) >= FEWEST_WINDOWS
    ]
    if not found:
        raise TrainingError(
            f"a drift reference needs {FEWEST_WINDOWS} windows of {window_ns / 1e9:g} s with rows of one symbol, found "
            f"{len(np.unique(window))} of any; train on a longer stretch or choose a shorter window"
        )
    return found


def _columns(dataset: Dataset, scores: Mapping[str, Column], without: Container[str]) -> tuple[Floats, tuple[str, ...]]:
    kept = [i for i, name in enumerate(dataset.names) if name not in without]
    taken = [*(dataset.names[i] for i in kept), *scores]
    if len(set(taken)) != len(taken):
        raise TrainingError(f"expected names of scores that no feature has, found {sorted(scores)}")
    return np.column_stack([dataset.features[:, kept], *scores.values()]), tuple(taken)


def _usual_rows(by_window: list[Counts]) -> Floats:
    """Median rows of each symbol in a window that has any."""
    rows = np.array([counts[:, 0].sum(axis=1) for counts in by_window], dtype=np.float64)
    rows[rows == 0] = np.nan
    usual: Floats = np.nanmedian(rows, axis=0)
    return usual


def _quiet(by_window: list[Counts], total: Counts, bins: Bins, rows: Floats) -> list[list[Quiet]]:
    """[S + 1][F]: each window's index against all other windows, thin ones left out."""
    live = bins.live
    found = np.array([indices(counts, total - counts, live) for counts in by_window])
    thin = np.array([thin_windows(counts, rows) for counts in by_window])
    degrees = np.concatenate([live, np.logical_or.reduce(live, axis=0)[None]]).sum(axis=2) - 1
    several = np.append(rows, rows.sum())
    return [
        [
            quiet_of(found[~thin[:, s], s, f], int(degrees[s, f]), float(several[s]))
            for f in range(found.shape[2])
        ]
        for s in range(found.shape[1])
    ]  # fmt: skip


def thin_windows(counts: Counts, rows: Floats) -> Flags:
    """[S + 1]: which symbols have less than half of their usual rows in a window; last, whether all together have."""
    present = counts[:, 0].sum(axis=1)
    return np.append(present < rows / 2, present.sum() < rows.sum() / 2)


def quiet_of(found: Floats, degrees: int, rows: float) -> Quiet:
    """What is usual, from the indices of quiet windows in order of time; `degrees`: live bins less one.

    The mean is at least what independent rows would give (degrees / rows). Windows that resemble their neighbours count for
    fewer: the first autocorrelation says for how many.
    """
    n = len(found)
    mean = max(float(found.mean()) if n else 0.0, degrees / max(rows, 1.0))
    variance = float(found.var(ddof=1)) if n > 1 else mean**2
    freedom = float(np.clip(2 * mean**2 / variance if variance > 0 else degrees, 1.0, degrees)) / TAIL
    centred = found - found.mean() if n else found
    spread = float(centred @ centred)
    sticky = float(np.clip(centred[1:] @ centred[:-1] / spread, 0.0, STICKY)) if spread > 0 else 0.0
    return Quiet(mean, freedom, freedom * max(FEWEST_WINDOWS / 2, n * (1 - sticky) / (1 + sticky)))


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A reference as arrays: counts a window and says how unusual it is."""

    bins: Bins
    counts: Counts
    rows: Floats
    quiet: Floats
    """[S + 1, F, 3]: mean, freedom, behind."""

    @classmethod
    def of(cls, reference: Reference) -> "Yardstick":
        """Ready for use."""
        edges = np.full((len(reference.symbols), len(reference.features), reference.bins - 1), np.inf)
        for s, row in enumerate(reference.series):
            for f, one in enumerate(row):
                edges[s, f, : len(one.edges)] = one.edges
        counts = np.array([[one.counts for one in row] for row in reference.series], np.int64)
        quiet = [[msgspec.structs.astuple(one.quiet) for one in row] for row in reference.series]
        together = [msgspec.structs.astuple(one) for one in reference.together]
        return cls(Bins(edges), counts, np.array(reference.rows), np.array([*quiet, together]))

    def index(self, counts: Counts) -> Floats:
        """PSI [S + 1, F] of a window's counts, all symbols together in the last row; NaN where it is thin."""
        found = indices(counts, self.counts, self.bins.live)
        found[thin_windows(counts, self.rows)] = np.nan
        return found

    def p_value(self, index: Floats) -> Floats:
        """How probable an index at least so large is while nothing drifts, [S + 1, F]."""
        mean, freedom, behind = np.moveaxis(self.quiet, 2, 0)
        p: Floats = fdtrc(freedom, behind, index / mean)
        return p

    def index_at(self, p: float, row: int, column: int) -> float:
        """The index of one series that has this p-value."""
        mean, freedom, behind = self.quiet[row, column]
        share = float(betaincinv(behind / 2, freedom / 2, p))
        return float(mean * behind * (1 - share) / (freedom * share)) if share > 0 else np.inf

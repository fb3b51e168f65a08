"""What must be known of a whole matrix to judge it, gathered a piece at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from processors.batch import NS
from processors.features import FEATURE_NAMES

HOUR_NS = 3_600 * NS


@dataclass(slots=True)
class Summary:
    """Rows, what they lack, how new they are, offsets by partition, and prices of symbols that are one instrument."""

    suffixes: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    rows: int = 0
    newest: dict[str, int] = field(default_factory=dict)
    """Symbol to ns."""
    _lacking: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(FEATURE_NAMES), np.int64))
    _offsets: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)
    _doubled: int = 0
    _prices: dict[str, list[pd.Series]] = field(default_factory=dict)

    def add(self, frame: pd.DataFrame) -> None:
        """The next piece; those of one partition come together."""
        self.rows += len(frame)
        self._lacking += frame[list(FEATURE_NAMES)].isna().sum().to_numpy()
        partition = int(frame["partition"].iloc[0])
        if self._offsets and self._offsets[0][0] != partition:
            self._count_doubled()
        self._offsets.append((partition, frame["offset"].to_numpy()))
        for symbol, rows in frame.groupby("symbol", sort=False):
            name = str(symbol)
            self.newest[name] = max(self.newest.get(name, -1), int(rows["ts_event"].max()))
            if self._paired(name):
                second = rows["ts_event"] // NS
                self._prices.setdefault(name, []).append(rows["price"].groupby(second).last())

    def missing(self) -> Mapping[str, float]:
        """Feature to the share of rows that lack it; all where there are no rows."""
        shares = self._lacking / self.rows if self.rows else np.ones(len(FEATURE_NAMES))
        return dict(zip(FEATURE_NAMES, shares.tolist(), strict=True))

    def duplicates(self) -> int:
        """Rows whose partition and offset another row has."""
        self._count_doubled()
        return self._doubled

    def behind_h(self, newest_ns: int) -> float:
        """Hours from the newest row to `newest_ns`, the newest event on the log."""
        if not self.newest:
            return np.inf
        return (newest_ns - max(self.newest.values())) / HOUR_NS

    def quiet(self, hours: float) -> float:
        """Share of the symbols whose newest row is so much older than the newest of all."""
        if not self.newest:
            return 1.0
        latest = max(self.newest.values())
        return sum(latest - ns > hours * HOUR_NS for ns in self.newest.values()) / len(self.newest)

    def gaps(self) -> Iterator[tuple[tuple[str, str], int, float]]:
        """Each pair, the seconds in which both have a price, and the median difference, as a fraction."""
        for one, other in self._all_pairs():
            both = pd.concat([self._series(one), self._series(other)], axis=1, join="inner")
            gap = np.abs(np.log(both.iloc[:, 0] / both.iloc[:, 1]))
            yield (one, other), len(both), float(gap.median()) if len(both) else np.inf

    def _series(self, symbol: str) -> pd.Series:
        parts = self._prices.get(symbol, [])
        if not parts:
            return pd.Series([], index=pd.Index([], dtype="int64"), dtype="float64")
        joined = pd.concat(parts)
        return joined[~joined.index.duplicated(keep="last")]

    def _paired(self, symbol: str) -> bool:
        if self.suffixes:
            return True  # the other half may come later
        return any(symbol in pair for pair in self.pairs)

    def _all_pairs(self) -> list[tuple[str, str]]:
        by_suffix = {
            (symbol, symbol.removesuffix(f".{venue}"))
            for symbol in self.newest
            for venue in self.suffixes
            if symbol.endswith(f".{venue}") and symbol.removesuffix(f".{venue}") in self.newest
        }
        return sorted({*map(tuple, self.pairs), *by_suffix})  # type: ignore[arg-type]

    def _count_doubled(self) -> None:
        for _, parts in groupby(self._offsets, key=lambda each: each[0]):
            offsets = np.concatenate([part for _, part in parts])
            self._doubled += len(offsets) - len(np.unique(offsets))
        self._offsets = []

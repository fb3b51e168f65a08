"""How every model that has scored live did, from the outcomes in ClickHouse; each number with its confidence interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from infra.clickhouse import Database
from infra.native_format import Column
from models.bootstrap import BLOCK_NS, Blocks, Interval
from models.candidate import Contest
from models.dataset import Dataset
from models.evaluation import BASE_RATE, Evaluation, evaluate
from schemas.errors import TrainingError

ALL: Final = "all"
MOST_ROWS: Final = 2_000_000
"""Of one model on one horizon, the newest."""
MEASURES: Final = ("log_loss", "gain", "brier", "calibration_error", "hit_rate", "information", "net_bp")
"""Of an `Evaluation`, those that are told with their intervals."""
By: TypeAlias = Literal["all", "symbol", "venue"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: only the newest `hours`, these horizons; all symbols together, these groups, and what `by` divides into."""

    hours: float = 24.0
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    by: By = "all"
    horizons_ns: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one horizon and group; `why` says what keeps it from being judged, or its numbers from having intervals."""

    model: str
    horizon_s: float
    group: str
    outcomes: int
    champion_share: float
    """Of its outcomes, those whose prediction clients saw as the champion's."""
    found: Evaluation | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Scored:
    """What matured of one model on one horizon, in order of time, and the symbols of its rows."""

    tested: Dataset
    scores: NDArray[np.float64]
    champion: NDArray[np.bool_]

    def among(self, symbols: Sequence[str]) -> "_Scored":
        """The rows of these; of all where empty."""
        if not symbols:
            return self
        mine = np.array([name in symbols for name in self.tested.symbols], np.bool_)[self.tested.symbol]
        return _Scored(self.tested.taken(mine), self.scores[mine], self.champion[mine])


def scoreboard(database: Database, name: str, wanted: Wanted) -> list[Line]:
    """Every model on every horizon and group, best log loss first."""
    groups = _groups(database, name, wanted)
    lines = []
    for horizon_ns, model in _models(database, name, wanted):
        if not (found := _found(database, name, wanted, horizon_ns, model)):
            continue  # they have left the window meanwhile
        scored = _scored(found, horizon_ns)
        lines += [_line(model, group, scored.among(symbols)) for group, symbols in groups.items()]
    order = {group: number for number, group in enumerate(groups)}
    return sorted(lines, key=lambda line: (order[line.group], line.horizon_s, _loss(line)))


def _loss(line: Line) -> float:
    return line.found.log_loss.value if line.found else np.inf


def _groups(database: Database, name: str, wanted: Wanted) -> dict[str, Sequence[str]]:
    """All symbols, those that were named, then every symbol or venue for itself. A symbol belongs to one venue."""
    made: dict[str, Sequence[str]] = {ALL: (), **wanted.groups}
    since = _since(name, wanted)
    if wanted.by == "symbol":
        sql = f"SELECT DISTINCT symbol FROM `{name}`.outcome_scores WHERE {since} ORDER BY symbol"  # noqa: S608
        made |= {str(symbol): (str(symbol),) for (symbol,) in database.rows(sql).rows}
    if wanted.by == "venue":
        both = " UNION DISTINCT ".join(
            f"SELECT venue, symbol FROM `{name}`.{table} WHERE {since}"  # noqa: S608
            for table in ("trades", "quotes")
        )
        for venue, symbol in database.rows(f"SELECT venue, symbol FROM ({both}) ORDER BY venue, symbol").rows:  # noqa: S608
            made[str(venue)] = (*made.get(str(venue), ()), str(symbol))
    return made


def _models(database: Database, name: str, wanted: Wanted) -> Iterator[tuple[int, str]]:
    sql = (
        f"SELECT DISTINCT horizon_ns, model_id FROM `{name}`.outcome_scores "  # noqa: S608
        f"WHERE {_since(name, wanted)} ORDER BY horizon_ns, model_id"
    )
    for horizon_ns, model in database.rows(sql).rows:
        if not wanted.horizons_ns or int(horizon_ns) in wanted.horizons_ns:
            yield int(horizon_ns), str(model)


def _since(name: str, wanted: Wanted) -> str:
    """Counted back from the newest outcome: event time, so that a replayed day has a scoreboard too."""
    newest = f"(SELECT max(ts_event) FROM `{name}`.outcome_scores)"  # noqa: S608
    return f"ts_event >= {newest} - toIntervalSecond({round(wanted.hours * 3600)})"


def _found(database: Database, name: str, wanted: Wanted, horizon_ns: int, model: str) -> Mapping[str, Column]:
    """The newest outcomes in order of time, each once, with the spread at the prediction: NaN where its features are gone.

    Features are the many and go by; what is joined to, and held by the database meanwhile, are the outcomes.
    """
    where = f"{_since(name, wanted)} AND horizon_ns = {horizon_ns} AND model_id = {{model:String}}"
    sql = (
        "SELECT toLowCardinality(o.symbol) AS symbol, toUnixTimestamp64Nano(o.ts_event) AS ts, o.score AS score, "  # noqa: S608
        "o.label AS label, o.log_return AS log_return, o.champion AS champion, if(f.log_id = '', nan, f.spread) AS spread "
        f"FROM (SELECT log_id, src_partition, src_offset, spread FROM `{name}`.features WHERE {_since(name, wanted)}) AS f "
        "RIGHT ANY JOIN (SELECT symbol, ts_event, score, label, log_return, champion, log_id, src_partition, predicted_offset "
        f"FROM `{name}`.outcome_scores FINAL WHERE {where} ORDER BY ts_event DESC LIMIT {MOST_ROWS}) AS o "
        "ON f.log_id = o.log_id AND f.src_partition = o.src_partition AND f.src_offset = o.predicted_offset "
        "ORDER BY ts, o.src_partition, o.predicted_offset"
    )
    return database.arrays(sql, {"model": model})


def _scored(found: Mapping[str, Column], horizon_ns: int) -> _Scored:
    codes, words = found["symbol"]
    names = sorted(str(words[code]) for code in np.unique(codes))
    at = {symbol: number for number, symbol in enumerate(names)}
    number = np.array([at.get(str(word), -1) for word in words], np.int64)
    tested = Dataset(
        features=_floats(found["spread"]).reshape(-1, 1), label=_floats(found["label"]),
        returns=_floats(found["log_return"]), ts=np.asarray(found["ts"], np.int64), symbol=number[codes],
        symbols=names, names=("spread",), horizon_ns=horizon_ns,
    )  # fmt: skip
    return _Scored(tested, _floats(found["score"]), np.asarray(found["champion"], np.bool_))


def _floats(column: Column) -> NDArray[np.float64]:
    return np.asarray(column, np.float64)


def _line(model: str, group: str, scored: _Scored) -> Line:
    tested, horizon_s = scored.tested, scored.tested.horizon_ns / 1e9
    if not len(tested):
        return Line(model, horizon_s, group, 0, 0.0, None, "no outcomes of these symbols")
    base = np.full(len(tested), tested.label[tested.moved].mean() if tested.moved.any() else 0.5)
    held = Contest(tested, 0, {BASE_RATE: base, model: scored.scores}, frozenset({BASE_RATE}))
    blocks, why = _blocks(tested)
    try:
        found = evaluate(held, blocks)[1]
    except TrainingError as error:
        return Line(model, horizon_s, group, len(tested), float(scored.champion.mean()), None, str(error))
    return Line(model, horizon_s, group, len(tested), float(scored.champion.mean()), found, why)


def _blocks(tested: Dataset) -> tuple[Blocks, str]:
    """Of five minutes where there is time enough, always ten horizons long; with fewer than ten there is no interval."""
    long = tested.ts[-1] - tested.ts[0] >= 20 * BLOCK_NS
    block_ns = max(BLOCK_NS if long else 0, 10 * tested.horizon_ns)
    try:
        return Blocks.of(tested.ts, block_ns=block_ns), ""
    except TrainingError as error:
        return Blocks.undrawn(tested.ts), f"no interval: {error}"


def told(interval: Interval, scale: float = 1.0, digits: int = 4) -> str:
    """`value [low, high]`, `value [—]` where it has no interval."""
    value = f"{interval.value * scale:.{digits}f}"
    if np.isnan(interval.low):
        return f"{value} [—]"
    return f"{value} [{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"

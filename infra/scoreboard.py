"""How every model that has scored live did, from the outcomes in ClickHouse; each number with its confidence interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from infra.clickhouse import Database
from models.bootstrap import BLOCK_NS, Blocks, Interval
from models.candidate import Contest
from models.dataset import Dataset
from models.evaluation import BASE_RATE, Evaluation, evaluate
from schemas.errors import TrainingError

ALL: Final = "all"
MOST_ROWS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: only the newest `hours`, these symbols together as one group (all of them where empty), this horizon."""

    hours: float = 24.0
    groups: Mapping[str, Sequence[str]] = field(default_factory=lambda: {ALL: ()})
    horizons_ns: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one horizon and group; `why` says what keeps it from being judged."""

    model: str
    horizon_s: float
    group: str
    outcomes: int
    champion_share: float
    """Of its outcomes, those whose prediction clients saw as the champion's."""
    found: Evaluation | None
    why: str = ""


def scoreboard(database: Database, name: str, wanted: Wanted) -> list[Line]:
    """Every model on every horizon and group, best log loss first; `TrainingError` is told in the line, not raised."""
    lines = []
    for horizon_ns, model, champion_share in _scored(database, name, wanted):
        for group, symbols in wanted.groups.items():
            rows = _rows(database, name, wanted, horizon_ns, model, symbols)
            lines.append(_line(model, horizon_ns, group, champion_share, rows))
    return sorted(lines, key=lambda line: (line.group, line.horizon_s, _loss(line)))


def _loss(line: Line) -> float:
    return line.found.log_loss.value if line.found else np.inf


def _scored(database: Database, name: str, wanted: Wanted) -> Iterator[tuple[int, str, float]]:
    sql = (
        f"SELECT horizon_ns, model_id, avg(champion) FROM `{name}`.outcome_scores "  # noqa: S608
        f"WHERE {_since(name, wanted)} GROUP BY horizon_ns, model_id ORDER BY horizon_ns, model_id"
    )
    for horizon_ns, model, share in database.rows(sql).rows:
        if not wanted.horizons_ns or int(horizon_ns) in wanted.horizons_ns:
            yield int(horizon_ns), str(model), float(share)


def _since(name: str, wanted: Wanted) -> str:
    """Counted back from the newest outcome: event time, so that a replayed day has a scoreboard too."""
    newest = f"(SELECT max(ts_event) FROM `{name}`.outcome_scores)"  # noqa: S608
    return f"ts_event >= {newest} - toIntervalSecond({round(wanted.hours * 3600)})"


def _rows(
    database: Database, name: str, wanted: Wanted, horizon_ns: int, model: str, symbols: Sequence[str]
) -> list[tuple[Any, ...]]:
    chosen = f" AND symbol IN ({', '.join(map(_quoted, symbols))})" if symbols else ""
    where = f"{_since(name, wanted)} AND horizon_ns = {horizon_ns} AND model_id = {_quoted(model)}{chosen}"
    sql = (
        "SELECT o.symbol, toUnixTimestamp64Nano(o.ts_event) AS ts, o.score, o.label, o.log_return, f.spread "  # noqa: S608
        f"FROM (SELECT * FROM `{name}`.outcome_scores FINAL WHERE {where} ORDER BY ts_event DESC LIMIT {MOST_ROWS}) AS o "
        f"LEFT JOIN (SELECT log_id, src_partition, src_offset, spread FROM `{name}`.features "
        f"WHERE {_since(name, wanted)}) AS f ON o.log_id = f.log_id AND o.src_partition = f.src_partition "
        "AND o.predicted_offset = f.src_offset ORDER BY ts, o.src_partition, o.predicted_offset"
    )
    return database.rows(sql).rows


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _line(model: str, horizon_ns: int, group: str, share: float, rows: Sequence[tuple[Any, ...]]) -> Line:
    if not rows:
        return Line(model, horizon_ns / 1e9, group, 0, share, None, "no outcomes of these symbols")
    symbols, ts, score, label, returns, spread = zip(*rows, strict=True)
    names, numbers = np.unique(np.array(symbols), return_inverse=True)
    tested = Dataset(
        features=np.array(spread, np.float64).reshape(-1, 1), label=np.array(label, np.float64),
        returns=np.array(returns, np.float64), ts=np.array(ts, np.int64), symbol=numbers.astype(np.int64),
        symbols=names.tolist(), names=("spread",), horizon_ns=horizon_ns,
    )  # fmt: skip
    scores = np.array(score, np.float64)
    base = np.full(len(scores), tested.label[tested.moved].mean() if tested.moved.any() else 0.5)
    held = Contest(tested, 0, {BASE_RATE: base, model: scores}, frozenset({BASE_RATE}))
    try:
        blocks = Blocks.of(tested.ts, block_ns=max(BLOCK_NS, 10 * horizon_ns) if _long(tested.ts) else 10 * horizon_ns)
        found = evaluate(held, blocks)
    except TrainingError as error:
        return Line(model, horizon_ns / 1e9, group, len(rows), share, None, str(error))
    return Line(model, horizon_ns / 1e9, group, len(rows), share, found[1])


def _long(ts: np.ndarray[Any, Any]) -> bool:
    """Whether there is time enough for blocks of five minutes."""
    return bool(ts[-1] - ts[0] >= 20 * BLOCK_NS)


def told(interval: Interval, scale: float = 1.0, digits: int = 4) -> str:
    """`value [low, high]`."""
    value, low, high = (f"{x * scale:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"

"""Checks of a matrix before a model is trained on it (pandera), one piece at a time; what is broken is told, never repaired."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pandera.pandas as pa
from msgspec import Struct

from infra.nightly.data_summary import Summary
from infra.nightly.plan import Check, Checked, MatrixManifest, canonical
from processors.features import FEATURE_NAMES
from schemas.errors import InputError
from schemas.events import MAX_NS, MAX_PRICE
from streams.matrix_files import read_piece

SHOWN: Final = 3
ROUNDED: Final = 1e-9
"""What rounding may add to a bound that holds exactly in real numbers."""
_SHARE, _SIGNED, _POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, np.inf)
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "flow_imbalance_10s": _SIGNED, "flow_imbalance_60s": _SIGNED, "trade_sign_ewm_10s": _SIGNED,
    "book_imbalance": _SIGNED, "book_imbalance_ewm_5s": _SIGNED, "news_sentiment_ewm_120s": _SIGNED,
    "rsi_14m": (0.0, 100.0), "session_frac": _SHARE, "spread": _POSITIVE, "spread_ewm_60s": _POSITIVE,
    "volatility_ewm_10s": _POSITIVE, "volatility_ewm_60s": _POSITIVE, "volatility_60s": _POSITIVE,
    "volatility_300s": _POSITIVE, "trade_intensity_10s": _POSITIVE, "trade_intensity_60s": _POSITIVE,
    "quote_intensity_10s": _POSITIVE, "news_intensity_600s": _POSITIVE, "since_trade_s": _POSITIVE,
    "atr_14m": _POSITIVE, "high_dist_300s": (-np.inf, 0.0), "low_dist_300s": _POSITIVE,
}  # fmt: skip
"""Of features, by their definition."""


class CheckLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a matrix must keep to."""

    min_rows: int = 500
    lost: int = 0
    """Records of the log that neither the topic nor the archive had."""
    log_return: float = 0.5
    """Largest move over the horizon, either way."""
    feature: float = 1e9
    """Largest value of any feature, either way."""
    missing: float = 0.95
    """Largest share of rows that lack a feature."""
    may_miss: tuple[str, ...] = ("news_sentiment_ewm_120s", "news_intensity_600s")
    """Features that may be missing throughout."""
    stale_h: float = 96.0
    """The newest row may be so many hours older than the newest event on the log: a long weekend."""
    symbol_stale_h: float = 24.0
    symbols_stale: float = 0.5
    """Largest share of the symbols whose newest row is `symbol_stale_h` hours older than the matrix's newest."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Symbols of two venues that are one instrument."""
    suffixes: tuple[str, ...] = ()
    """Venues: with KRAKEN, BTC-USD.KRAKEN and BTC-USD are a pair."""
    price_gap: float = 0.005
    """Largest median difference of the prices of a pair in the seconds that both have, as a fraction."""
    common_seconds: int = 30
    """With fewer of them a pair is not judged, and fails."""


def read_limits(path: Path | None) -> CheckLimits:
    """Limits from a JSON file that names some of them. `InputError` names what is none."""
    if path is None:
        return CheckLimits()
    try:
        return msgspec.json.decode(path.read_bytes(), type=CheckLimits)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: expected limits of the data checks as JSON, {error}") from error


def checked(directory: Path, manifest: MatrixManifest, limits: CheckLimits) -> Checked:
    """Check every row of a finished matrix. In memory: one piece, and 8 bytes a row of one partition for the duplicates."""
    schema, summary = row_schema(limits, manifest.plan.horizon_ns), Summary(limits.suffixes, limits.pairs)
    broken: dict[tuple[str, str], list[Any]] = {}
    for piece in manifest.pieces:
        frame = read_piece(directory / piece.file).to_pandas()
        summary.add(frame)
        for name, subject, examples, rows in failures(schema, frame):
            found = broken.setdefault((name, subject), [0, []])
            found[0] += rows
            found[1] += examples[: SHOWN - len(found[1])]
    checks = [*_of_rows(schema, broken, manifest.rows), *_of_all(summary, manifest, limits)]
    return Checked(limits=canonical(limits).decode(), checks=tuple(checks))


def row_schema(limits: CheckLimits, horizon_ns: int) -> Any:
    """What every row must be, as pandera says it."""
    price = pa.Check.in_range(0.0, MAX_PRICE, include_min=False)
    time, move = pa.Check.in_range(0, MAX_NS), pa.Check.in_range(-limits.log_return, limits.log_return)
    columns = {
        "partition": pa.Column("int32", pa.Check.ge(0)), "offset": pa.Column("int64", pa.Check.ge(0)),
        "symbol": pa.Column(None, pa.Check.str_length(1, 32)), "ts_event": pa.Column("int64", time),
        "ts_matured": pa.Column("int64", time), "horizon_ns": pa.Column("int64", pa.Check.eq(horizon_ns)),
        "price": pa.Column("float64", price), "price_matured": pa.Column("float64", price),
        "log_return": pa.Column("float64", move), "label": pa.Column("float64", pa.Check.isin([0.0, 0.5, 1.0])),
        **{name: _feature(name, limits) for name in FEATURE_NAMES},
    }  # fmt: skip
    together = [
        pa.Check(lambda f: f["ts_matured"] - f["ts_event"] == horizon_ns, name="matures at its horizon"),
        pa.Check(
            lambda f: (f["log_return"] - np.log(f["price_matured"] / f["price"])).abs() <= ROUNDED,
            name="the return is that of the prices",
        ),
    ]
    return pa.DataFrameSchema(columns, checks=together, strict=True, ordered=True, name="matrix")


def _feature(name: str, limits: CheckLimits) -> Any:
    low, high = BOUNDS.get(name, (-np.inf, np.inf))
    low, high = max(low, -limits.feature), min(high, limits.feature)
    within = pa.Check.in_range(low - ROUNDED, high + ROUNDED, error=f"within {low:g} and {high:g}")
    return pa.Column("float64", within, nullable=True)


def failures(schema: Any, frame: pd.DataFrame) -> Iterable[tuple[str, str, list[str], int]]:
    """(check, column, examples, rows) of everything that pandera finds wrong with a piece."""
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        for (check, subject), found in cases.groupby(["check", "column"], sort=True, dropna=False):
            at = found["index"].dropna().astype("int64").unique()
            yield str(check), str(subject), [_row(frame, i, subject) for i in at[:SHOWN]], max(1, len(at))


def _row(frame: pd.DataFrame, at: int, column: str) -> str:
    row = frame.iloc[at]
    said = f" {column}={row[column]}" if column in frame.columns else ""
    return f"{row['partition']}@{row['offset']} {row['symbol']}{said}"


def _of_rows(schema: Any, broken: Mapping[tuple[str, str], Sequence[Any]], rows: int) -> Iterable[Check]:
    yield Check(
        name="rows", subject=f"{len(schema.columns)} columns within their ranges", passed=not broken,
        found=float(sum(each[0] for each in broken.values())), limit=0.0,
    )  # fmt: skip
    for (name, subject), (count, examples) in sorted(broken.items()):
        yield Check(
            name=name, subject=subject, passed=False, found=count / max(rows, 1), limit=0.0, broken=count,
            examples=tuple(examples),
        )  # fmt: skip


def _of_all(summary: Summary, manifest: MatrixManifest, limits: CheckLimits) -> list[Check]:
    """Measures of the whole matrix, held against their limits by pandera."""
    newest = max((each.newest_ns for each in manifest.partitions), default=-1)
    lost = sum(span.records for span in manifest.plan.spans) - sum(each.records for each in manifest.partitions)
    absent = [symbol for symbol in manifest.plan.symbols if symbol not in summary.newest]
    told: list[tuple[str, str, float, float]] = [
        ("too few rows", "matrix", max(0.0, limits.min_rows - summary.rows), 0.0),
        ("records that nobody has", "log", lost, limits.lost),
        ("duplicates", "(partition, offset)", summary.duplicates(), 0.0),
        ("hours behind the log", "matrix", summary.behind_h(newest), limits.stale_h),
        ("share of symbols that went quiet", "matrix", summary.quiet(limits.symbol_stale_h), limits.symbols_stale),
        ("symbols without a row", ", ".join(absent) or "of those asked for", len(absent), 0.0),
        *(
            ("missing share", name, share, 1.0 if name in limits.may_miss else limits.missing)
            for name, share in summary.missing().items()
        ),
        *(
            (f"price gap in {seconds} common seconds", f"{one} {other}",
             gap if seconds >= limits.common_seconds else np.inf, limits.price_gap)
            for (one, other), seconds, gap in summary.gaps()
        ),
    ]  # fmt: skip
    frame = pd.DataFrame(told, columns=["name", "subject", "found", "limit"]).astype({"found": float, "limit": float})
    kept = pa.DataFrameSchema(checks=pa.Check(lambda f: f["found"] <= f["limit"], name="within its limit"))
    try:
        kept.validate(frame, lazy=True)
        failed: set[int] = set()
    except pa.errors.SchemaErrors as error:
        failed = {int(i) for i in error.failure_cases["index"].dropna()}
    rows: Iterable[tuple[int, tuple[str, str, float, float]]] = enumerate(told)
    return [
        Check(name=name, subject=subject, passed=i not in failed, found=_finite(found), limit=limit)
        for i, (name, subject, found, limit) in rows
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

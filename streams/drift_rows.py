"""Outcomes that wait for their block to be closed, and the block that they make."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.drift import Block
from models.input_drift import SCORE
from processors.scores import ONLINE
from schemas.rows import Outcome

NAN: Final = float("nan")


class Row(Struct, frozen=True, array_like=True):
    """One outcome: what came true, what the watched model and its challenger had said, and the features behind it."""

    symbol: str
    ts_event: int
    predicted_offset: int
    label: float
    score: float
    rival: float | None
    features: bytes
    """float64, in the order of the reference; empty where unknown."""


def scores_of(outcome: Outcome) -> Mapping[str, float | None]:
    """What each model had said, by its id."""
    return {ONLINE: outcome.online, outcome.onnx_id: outcome.onnx, **outcome.challengers}


def row_of(
    outcome: Outcome, label: float, score: float, rival: float | None, names: Sequence[str],
    features: "NDArray[np.float64] | None",
) -> Row:  # fmt: skip
    """The outcome as a row; `names`: of the reference, `features`: of all of them but the score, None where unknown."""
    raw = b""
    if features is not None:
        at = iter(features.tolist())
        raw = np.array([score if name == SCORE else next(at) for name in names], np.float64).tobytes()
    return Row(outcome.symbol, outcome.ts_event, outcome.predicted_offset, label, score, rival, raw)


def block_of(number: int, block_ns: int, rows: list[Row], width: int) -> Block:
    """The rows as columns, in an order that is theirs alone; one that came twice counts once."""
    once = {(row.symbol, row.ts_event, row.predicted_offset): row for row in rows}
    rows = [once[key] for key in sorted(once)]
    symbols = sorted({row.symbol for row in rows})
    at = {name: i for i, name in enumerate(symbols)}
    features = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        if row.features:
            features[i] = np.frombuffer(row.features, np.float64)

    def column(values: Iterator[float | None]) -> NDArray[np.float64]:
        return np.array([NAN if value is None else value for value in values], np.float64)

    return Block(
        number * block_ns, (number + 1) * block_ns, symbols, np.array([at[row.symbol] for row in rows], np.int64), features,
        np.array([bool(row.features) for row in rows]), column(row.label for row in rows),
        column(row.score for row in rows), column(row.rival for row in rows),
    )  # fmt: skip

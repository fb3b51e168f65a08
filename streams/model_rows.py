"""Rows of what models said and of their changes, as columns for ClickHouse."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from processors.batch import Integers
from processors.scores import ONLINE, SCORES, LineUp
from processors.shard import ShardOutput
from streams.columns import Block, Words, finite

Source: TypeAlias = Callable[[ShardOutput, NDArray[Any]], Block]
"""The source columns of rows that events of the stretch made."""


def put_outcome_scores(
    made: dict[str, Block], output: ShardOutput, symbols: NDArray[Any], words: Words, source: Source
) -> None:
    """One row per model that had a score, of every outcome that is not void."""
    m, line_ups = output.outcomes, output.scores.line_ups
    at, column = np.nonzero(np.isfinite(m.scores) & (m.void == 0)[:, np.newaxis])
    if not len(at):
        return
    first = np.array([0 if each.champion == ONLINE else 1 for each in line_ups])
    made["outcome_scores"] = {
        "symbol": (symbols[m.row[at]], words.all),
        "ts_event": m.stamps[at, 0],
        "ts_matured": m.stamps[at, 0] + m.horizon[at],
        "horizon_ns": m.horizon[at],
        "predicted_offset": m.stamps[at, 1],
        "model_id": (_names(line_ups, words)[m.line_up[at], column], words.all),
        "champion": first[m.line_up[at]] == column,
        "score": m.scores[at, column],
        "label": m.label[at],
        "log_return": np.log(m.price[at, 1] / m.price[at, 0]),
        **source(output, m.event[at]),
    }


def put_challengers(
    made: dict[str, Block], output: ShardOutput, symbols: NDArray[Any], words: Words, source: Source
) -> None:
    """One row per challenger of every folded event."""
    batch, scores = output.batch, output.scores
    taken = np.array([[name != "" for name in each.challengers] for each in scores.line_ups])
    at, place = np.nonzero(taken[scores.line_up])
    if not len(at):
        return
    made["challenger_scores"] = {
        "symbol": (symbols[batch.symbol[at]], words.all),
        "ts_event": batch.now[at],
        "model_id": (_names(scores.line_ups, words)[scores.line_up[at], place + 2], words.all),
        "p_up": finite(scores.by_model[at, place + 2]),
        **source(output, output.folded[at]),
    }


def changed_at(output: ShardOutput) -> Integers:
    """Which events of the stretch changed the models."""
    return np.array([each.event for each in output.changes], np.int64)


def changes(output: ShardOutput) -> Block:
    """One row per change, and who scores behind it."""
    told = output.changes
    return {
        "ts_event": output.events.ts_event[changed_at(output)],
        "action": [each.change.action for each in told],
        "model_id": [each.change.model for each in told],
        "by": [each.change.by for each in told],
        "why": [each.change.why for each in told],
        "refused": [each.refused for each in told],
        "champion": [each.line_up.champion for each in told],
        "onnx_id": [each.line_up.onnx for each in told],
        "challengers": [" ".join(filter(None, each.line_up.challengers)) for each in told],
    }


def _names(line_ups: Sequence[LineUp], words: Words) -> NDArray[np.int64]:
    """Words of the models, [line-ups, SCORES]."""
    return words.codes([name for each in line_ups for name in each.models]).reshape(-1, SCORES)

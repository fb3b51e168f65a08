"""Which model scored which stretch of a partition: it changes only where a process started, and the rows say where."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from processors.batch import Column, Matrix
from processors.scores import NO_MODEL, Model
from schemas.control import REMOTE
from streams.columns import Block
from streams.comparison import MAY_LACK, Masks

OF_ONLINE: Final = ("online", "online_steps")


@dataclass(frozen=True, slots=True)
class Gone:
    """Stands for a model that is gone: its rows are known to be there, and not what it said."""

    id: str

    def score(self, features: Matrix) -> Column:
        """Always the same."""
        return np.full(len(features), 0.5)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive rows of one partition that name the same model and features, from `first` on."""

    first: int
    onnx_id: str
    features_id: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A run, and what scored it. `known` is False where the model is gone: its scores cannot be computed again."""

    run: Run
    model: Model | None
    known: bool
    comparable: bool
    """Its features are the ones that we compute."""

    @property
    def why(self) -> str:
        """Why something of it cannot be compared; empty where everything can."""
        if not self.comparable:
            return f"written with features {self.run.features_id}, which this build does not compute"
        return "" if self.known else f"model {self.run.onnx_id} is not in the models directory, or cannot be used"


class ModelRuns:
    """The runs of one partition, in order.

    `load` gives a model by its id, None where it is gone. A run of a model that is gone between two runs of one and the same
    other model is no restart but rows that name a wrong one: it belongs to its neighbours.
    """

    def __init__(
        self, runs: Sequence[Run], load: Callable[[str], Model | None], features_id: str, now: str = NO_MODEL
    ) -> None:
        models: dict[str, Model | None] = {NO_MODEL: None}
        self._load = load
        self._named: dict[str, Model] = {}
        for run in runs:
            if run.onnx_id not in models:
                models[run.onnx_id] = load(run.onnx_id)
        kept: list[Run] = []
        for i, run in enumerate(runs):
            gone = run.onnx_id != NO_MODEL and models[run.onnx_id] is None
            foreign = run.features_id != features_id
            between = 0 < i < len(runs) - 1 and _same(runs[i - 1], runs[i + 1])
            if not ((gone or foreign) and between) and not (kept and _same(kept[-1], run)):
                kept.append(run)
        self.all: Final[Sequence[Scored]] = [
            Scored(
                run, None if run.onnx_id == NO_MODEL else models[run.onnx_id] or Gone(run.onnx_id),
                run.onnx_id == NO_MODEL or models[run.onnx_id] is not None, run.features_id == features_id,
            )
            for run in kept or [Run(0, now, features_id)]
        ]  # fmt: skip
        self._first: Final = [each.run.first for each in self.all]

    def at(self, offset: int) -> Scored:
        """What scored this record; the first run reaches back to the log's beginning."""
        return self.all[max(bisect_right(self._first, offset) - 1, 0)]

    def named(self, model: str) -> Model:
        """A model that the log itself names, or what stands for it."""
        if model not in self._named:
            self._named[model] = self._load(model) or Gone(model)
        return self._named[model]

    @property
    def cuts(self) -> Sequence[int]:
        """Offsets from which on another model scores."""
        return self._first[1:]

    @property
    def why(self) -> str:
        """Why something cannot be compared, of all runs."""
        gone = [
            f"model {name} was scored by a server"
            if name.startswith(REMOTE)
            else f"model {name} is not in the models directory"
            for name in self._gone()
        ]
        return "; ".join(dict.fromkeys([*(each.why for each in self.all if each.why), *gone]))

    def _gone(self) -> list[str]:
        named = [name for name, model in self._named.items() if isinstance(model, Gone)]
        return [*named, *(each.run.onnx_id for each in self.all if isinstance(each.model, Gone))]

    def unknown(self, table: str, block: Block, feature_names: Sequence[str]) -> Masks:
        """Column to the rows of an expected block whose value there cannot be known."""
        if not self.why or not block:
            return {}
        by = "predicted_offset" if table in ("outcomes", "outcome_scores") else "src_offset"
        at = np.maximum(np.searchsorted(self._first, np.asarray(block[by]), side="right") - 1, 0)
        foreign = np.array([not each.comparable for each in self.all])[at]
        gone = np.array([not each.known for each in self.all])[at] | foreign
        masks = {
            **_masks(table, block, foreign, gone, feature_names),
            **_masks_of_named(table, block, foreign, self._gone()),
        }
        return {column: mask for column, mask in masks.items() if mask.any()}


def _masks(
    table: str, block: Block, foreign: NDArray[np.bool_], gone: NDArray[np.bool_], feature_names: Sequence[str]
) -> Mapping[str, NDArray[np.bool_]]:
    if table == "features":
        return dict.fromkeys(feature_names, foreign)
    if table == "ledger":
        return {"features_hash": foreign}
    if table == "outcomes":
        return {"online": foreign, "onnx": gone}
    if table == "predictions":
        champion = block["champion"]
        assert isinstance(champion, tuple)
        online_first = np.array([word == "online" for word in champion[1]])[champion[0]]
        by_online = online_first & np.isfinite(np.asarray(block["online"]))
        return {**dict.fromkeys(OF_ONLINE, foreign), "onnx": gone, "p_up": foreign | (gone & ~by_online)}
    return {}


def _masks_of_named(
    table: str, block: Block, foreign: NDArray[np.bool_], gone: Sequence[str]
) -> Mapping[str, NDArray[np.bool_]]:
    """Of tables whose rows name one model each."""
    column = {"challenger_scores": "p_up", "outcome_scores": "score"}.get(table)
    if column is None:
        return {}
    models = block["model_id"]
    assert isinstance(models, tuple)
    masks = {column: foreign | np.array([word in gone for word in models[1]])[models[0]]}
    if table == "outcome_scores":  # what a server did not answer has no row
        masks[MAY_LACK] = np.array([word in gone and word.startswith(REMOTE) for word in models[1]])[models[0]]
    return masks


def _same(one: Run, other: Run) -> bool:
    return (one.onnx_id, one.features_id) == (other.onnx_id, other.features_id)

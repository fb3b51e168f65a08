"""Models as a formula, and an API that serves them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from api.ports import Predictor, ServedModel
from schemas.errors import ModelError
from tests.api.fakes import World

FEATURES = ("a", "b", "c")
VERSIONS = ("0a1b", "2c3d")


def expected(rows: Sequence[Sequence[float]], version: str = VERSIONS[-1]) -> list[float]:
    """What `FormulaPredictor` must answer: (1 + a - 2 b + c / 2) / 16, a missing value counting as 0; version 0a1b: 0.25."""
    if version == VERSIONS[0]:
        return [0.25] * len(rows)
    known = [[0.0 if x != x else x for x in row] for row in rows]  # noqa: PLR0124 - NaN
    return [(1.0 + a - 2.0 * b + c / 2.0) / 16.0 for a, b, c in known]


@dataclass
class FormulaPredictor:
    """`Predictor` with the model `formula` of two versions, and the model `broken`, which must not be used."""

    seen: list[NDArray[np.float64]] = field(default_factory=list)
    broken: bool = False
    gate: threading.Event | None = None
    """Where given, scoring waits for it."""
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released by every call that scores."""

    def models(self) -> Mapping[str, Sequence[str]]:
        return ({"broken": ()} if self.broken else {}) | {"formula": VERSIONS}

    def find(self, name: str, version: str = "") -> ServedModel | None:
        if name == "broken" and self.broken:
            raise ModelError("/srv/secret/broken.onnx was altered or torn")
        if name != "formula" or version not in ("", *VERSIONS):
            return None
        version = version or VERSIONS[-1]
        return ServedModel(name, version, f"formula-{version}", FEATURES, "abc1", 10.0)

    def infer(self, model: ServedModel, features: NDArray[np.float64]) -> NDArray[np.float64]:
        self.seen.append(features)
        self.entered.release()
        if self.gate is not None:
            assert self.gate.wait(20)
        return np.array(expected(features.tolist(), model.version))


@dataclass
class Predicting(World):
    """An API over lists and over a predictor."""

    predictor: Predictor = field(default_factory=FormulaPredictor)

    def app(self) -> FastAPI:
        self.more["predictor"] = self.predictor
        return super().app()

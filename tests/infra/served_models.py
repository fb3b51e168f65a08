"""Trained models on disk, and an API on loopback that serves them by the Open Inference Protocol."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from onnx import helper

from api.ports import Predictor
from infra.models.on_demand import OnDemandModels
from infra.telemetry import Telemetry
from models import manifest as manifests
from models.training import TrainingSettings, train
from tests.api.fakes import serving
from tests.api.predictors import Predicting
from tests.models.rows import ABOUT, described, graph, logistic, market

ROWS = [[1.0, 0.5, -2.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]


def answers(rows: Sequence[Sequence[float]], bias: float = 0.25) -> list[float]:
    """The formula of `logistic`."""
    return [1.0 / (1.0 + math.exp(-(a - 2.0 * b + 0.5 * c + bias))) for a, b, c in rows]


def save_logistic(directory: Path, bias: float = 0.25) -> manifests.Manifest:
    """The model `mine` with that bias, as the one that scores now."""
    content = logistic(bias)
    manifest = described(content, ROWS, answers(ROWS, bias))
    manifests.save(manifest, content, directory)
    return manifest


def save_unsure(directory: Path) -> manifests.Manifest:
    """A model `mine` that gives -1 for a row of 100s: its canary does not show it."""
    nodes = [
        helper.make_node("Gemm", ["features", "w"], ["sum"]),
        helper.make_node("Clip", ["sum", "least", "most"], ["cut"]),
        helper.make_node("Sub", ["half", "cut"], ["p_up"]),
    ]
    weights = {"w": np.full((3, 1), 0.01), "half": np.array(0.5), "least": np.array(0.0), "most": np.array(1.5)}
    content = graph(nodes, outputs=[None, 1], weights=weights)
    manifest = described(content, ROWS, [0.5 - 0.01 * max(0.0, sum(row)) for row in ROWS])
    manifests.save(manifest, content, directory)
    return manifest


def save_network(directory: Path) -> manifests.Manifest:
    """A small network over 32 features, as `tickwire train` makes it."""
    features, labels = market(1500, missing=0.05)
    trained = train(features, labels, ABOUT, settings=TrainingSettings(epochs=2))
    trained.save(directory)
    return trained.manifest


def models_in(directory: Path) -> OnDemandModels:
    """The models of a directory."""
    return OnDemandModels(directory, Telemetry())


@contextmanager
def served(predictor: Predictor) -> Iterator[str]:
    """HOST:PORT of an API over these models."""
    with serving(Predicting(predictor=predictor)) as (address, _):
        yield address

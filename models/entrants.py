"""Everything that takes part in an evaluation: baselines first, then the models that the product serves. Needs `train`."""

import msgspec
import numpy as np

from models.baselines import baselines
from models.boosting import BoostingSettings, boost
from models.candidate import Candidate, Scorer
from models.dataset import Dataset
from models.manifest import About
from models.onnx import open_session, run
from models.progressive import learnt, predict_then_learn
from models.sequence import windowed, windows
from models.training import TrainingSettings, train
from models.walk_forward import purged_rows


def entrants(about: About, *, seed: int = 0) -> list[Candidate]:
    """`about`: what the columns of the dataset mean; the models are made in memory and kept nowhere."""
    return [*baselines(), online(), mlp(about, seed=seed), convolution(about, seed=seed), boosting(about, seed=seed)]


def online() -> Candidate:
    """River's logistic regression: warm from the past, then it predicts and learns on through the test."""

    def fit(past: Dataset) -> Scorer:
        model = learnt(past)
        return lambda after: predict_then_learn(after, model)

    return Candidate("online (River)", fit)


def mlp(about: About, *, seed: int = 0, settings: TrainingSettings | None = None) -> Candidate:
    """The network of `models.training`, scored from its ONNX file."""

    def fit(past: Dataset) -> Scorer:
        directed = past.taken(past.moved)
        purged = msgspec.structs.replace(settings or TrainingSettings(), purge_rows=purged_rows(directed))
        content = train(
            np.ascontiguousarray(directed.features), directed.label, about, seed=seed, settings=purged
        ).content  # fmt: skip
        return _scorer(content)

    return Candidate("MLP (ONNX)", fit)


def convolution(about: About, *, seed: int = 0, settings: TrainingSettings | None = None) -> Candidate:
    """A causal convolution over the last feature vectors of the symbol (`models.sequence`), scored from its ONNX file."""

    def fit(past: Dataset) -> Scorer:
        purged = msgspec.structs.replace(settings or TrainingSettings(), purge_rows=purged_rows(past.taken(past.moved)))
        seen = np.ascontiguousarray(windows(past)[past.moved])
        content = train(seen, past.label[past.moved], windowed(about), seed=seed, settings=purged).content
        session = open_session(content)
        return lambda after: run(session, windows(after))

    return Candidate("convolution over 8 vectors (ONNX)", fit)


def boosting(about: About, *, seed: int = 0, settings: BoostingSettings | None = None) -> Candidate:
    """The trees of `models.boosting`, scored from their ONNX file."""
    return Candidate("LightGBM (ONNX)", lambda past: _scorer(boost(past, about, seed=seed, settings=settings).content))


def _scorer(content: bytes) -> Scorer:
    session = open_session(content)
    return lambda after: run(session, after.features)

"""Models that a server scores beside ours, in the shadow: whatever the server does, the flow goes on."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import numpy as np

from infra.composition import model_path
from infra.models.shelf import model_of
from infra.models.triton import TritonModel
from infra.settings import Settings
from models.manifest import load as load_manifest
from models.manifest import manifest_name
from models.onnx import TOLERANCE, check_features
from processors.batch import Column, Matrix
from processors.features import FEATURE_NAMES, FEATURES_ID
from processors.scores import Model
from schemas.control import REMOTE
from schemas.errors import ModelError, TickwireError

NO_PROBABILITY: Final = "the server gave a score that is no probability"


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Stands for a model that nobody asks: a replay asks no server."""

    id: str

    def score(self, features: Matrix) -> Column:
        """No score of any row."""
        return np.full(len(features), np.nan)


class TritonShadow:
    """A model behind a server that raises nothing, and has no score (NaN) for what was not answered.

    It is met, by its canary, in a thread of its own: until then nothing is asked of it. From its first fault on nothing is
    either; the fault is told with every batch, until the log's word takes the model out.
    """

    def __init__(self, model: str, connect: Callable[[], TritonModel], tell: Callable[[str, str], None]) -> None:
        self.id: Final = model
        self._tell: Final = tell
        self._fault = ""
        self._server: TritonModel | None = None
        self._meeting: Final = threading.Thread(target=self._meet, args=(connect,), name="triton", daemon=True)
        self._meeting.start()

    def score(self, features: Matrix) -> Column:
        """P(up) of each row as the server says, within its time; else NaN."""
        scores = np.full(len(features), np.nan)
        if self._server is not None and not self._fault:
            try:
                scores = self._server.score(features)
            except TickwireError as error:
                self._fault = str(error)
            else:
                self._fault = "" if ((scores >= 0.0) & (scores <= 1.0)).all() else NO_PROBABILITY
        if self._fault:
            self.close()
            self._tell(self.id, self._fault)
        return scores

    def close(self) -> None:
        """Give the connections back."""
        if self._server is not None:
            self._server.close()

    def met(self, within_s: float) -> bool:
        """Wait until the server was met; whether it may score."""
        self._meeting.join(within_s)
        return self._server is not None

    def _meet(self, connect: Callable[[], TritonModel]) -> None:
        fault = "the server could not be met; the log of this process says why"
        try:
            self._server, fault = connect(), ""
        except TickwireError as error:
            fault = str(error)
        finally:
            self._fault = fault


def remembered(load: Callable[[str], Model | None]) -> Callable[[str], Model | None]:
    """The same, asked once of each model as long as anybody uses it: one that is not there may be there the next time."""
    found: WeakValueDictionary[str, Model] = WeakValueDictionary()

    def one(name: str) -> Model | None:
        model = found.get(name) or load(name)
        if model is not None:
            found[name] = model
        return model

    return one


def live_model(settings: Settings, model: str, tell: Callable[[str, str], None]) -> Model | None:
    """The model that the log names: from its file, or by a server where its id says so. `tell`: a server's fault."""
    if model.startswith(REMOTE):
        return TritonShadow(model, lambda: connected(settings, model), tell)
    return model_of(settings, model, settings.models.provider)


def replayed_model(settings: Settings, model: str) -> Model | None:
    """The same where no server is asked."""
    return Unanswered(model) if model.startswith(REMOTE) else model_of(settings, model, settings.models.provider)


def connected(settings: Settings, model: str) -> TritonModel:
    """The server's model that `triton.ID` names, checked by the canary of ID in our own models directory.

    Raises: `ModelError` where there is no such model here or there, `BackendError` where the server does not answer.
    """
    url = settings.models.triton_url.get_secret_value()
    if not url:
        raise ModelError(f"{model}: no server is set; TICKWIRE_MODELS__TRITON_URL=http://HOST:8000 names one")
    manifest = load_manifest(model_path(settings).with_name(manifest_name(model.removeprefix(REMOTE))))
    check_features(manifest, FEATURE_NAMES, FEATURES_ID)
    timeout_s = settings.models.triton_timeout.total_seconds()
    return TritonModel.connect(url, manifest, timeout_s=timeout_s, apart=TOLERANCE)

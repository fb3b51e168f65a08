"""What a model is to the rest of the system: a matrix of features in, a column of P(up) out."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]


class Model(Protocol):
    """Scores rows of features.

    The score of a row has the same bits whatever batch the row comes in: live and replay must write the same rows.
    """

    @property
    def name(self) -> str:
        """What kind of model it is, for people and for column values: `online`, `onnx`."""

    @property
    def id(self) -> str:
        """Which model exactly: a hash of what decides its scores; goes into every row."""

    def score(self, features: Matrix) -> Column:
        """P(up) of each row.

        Takes float64 `[n, F]`, C-contiguous, columns in the model's own order, NaN where a value is missing;
        returns float64 `[n]`.
        """


class Learner(Model, Protocol):
    """A model that also learns from rows whose label has come true."""

    def learn(self, features: Matrix, labels: Column) -> None:
        """Take one step on matured rows: float64 `[n, F]`, and `[n]` labels, each 0.0 or 1.0."""

    def snapshot(self) -> bytes:
        """The state, such that restoring it and learning on gives the bits of never having stopped."""

"""What the API needs from outside, in its own words; infra has the adapters, tests have lists.

Adapters block, where they are not asynchronous; the API calls them in a thread pool, so they must be safe to call from several
threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from api.access.ports import Access
from api.cursor import Place
from api.listings import Listing, Stretch
from api.media import FileKind
from api.model_answers import ModelChanged, ModelChangeTaken, ModelInfo, ModelScore
from api.once import OnceStore
from api.sql.ports import SqlAccess
from schemas.backtest import Backtest
from schemas.control import ModelChange
from schemas.hooks import Delivery, DeliveryDetails, Endpoint, NewEndpoint, Secret
from schemas.rows import Alert, Latest, ScoreStatus
from schemas.rules import Rule, RuleChange, RuleTaken, StandingRule


class LatestRows(Protocol):
    """The newest row of every symbol. Raises: `StoreUnavailable`."""

    def read(self, symbol: str) -> Latest | None:
        """None for a symbol that has no row (any more)."""

    async def fetch(self, symbol: str) -> Latest | None:
        """The same, for an event loop."""

    async def aclose(self) -> None:
        """Close what belongs to the event loop."""

    def symbols(self) -> Sequence[str]:
        """Every symbol that has a row, sorted."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of event time, `start <= t < end` in ns, of which at most `limit` rows are wanted."""

    start: int
    end: int
    limit: int


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A page as bytes of the kind that was asked for."""

    body: bytes
    rows: int
    place: Place | None
    """Of its last row, where others follow."""


class History(Protocol):
    """What has been written for good. Raises: `DatabaseError`, `DatabaseUnavailable`."""

    def rows(self, listing: Listing, symbol: str, stretch: Stretch) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        """Names of the columns and the rows, ascending by `(listing.time, *listing.key)`; times in ns."""

    def file(self, listing: Listing, symbol: str, stretch: Stretch, kind: FileKind) -> HistoryFile:
        """The same as a file."""

    def ping(self) -> None:
        """Return if the database answers."""


class Status(Protocol):
    """What the scoring processes say about themselves. Raises: `StoreUnavailable`, `SchemaError`."""

    def scores(self) -> Sequence[ScoreStatus]:
        """The newest document of every scoring process that is alive."""


class Meter(Protocol):
    """Counts and timings that operators look at; names as in `infra.telemetry`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One duration for a histogram."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A trained model that scores rows which a client brings."""

    name: str
    version: str
    """Which of the models of this name; `id` is both."""
    id: str
    features: Sequence[str]
    """What the columns of a row mean, in order."""
    features_id: str
    horizon_s: float
    """P(up) is about so many seconds later."""


class Predictor(Protocol):
    """Trained models, scored on demand. Raises: `ModelError` where a model is there but must not be used."""

    def models(self) -> Mapping[str, Sequence[str]]:
        """Every model's name, sorted, with the versions that can be asked for, oldest first."""

    def find(self, name: str, version: str = "") -> ServedModel | None:
        """A model that is loaded and has been checked, the current version where none is named; None where there is none."""

    def infer(self, model: ServedModel, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(up) of each row: float64 `[n, F]`, NaN where missing, to `[n]`, each within [0, 1]."""


class ModelDesk(Protocol):
    """The models that score, or could, and how they do. Raises: `BackendError`."""

    def models(self) -> Sequence[ModelInfo]:
        """Those of this machine and those that score, by id."""

    def scoring(self) -> str:
        """Id of the ONNX model that scores now; empty where nothing does."""

    def changes(self, limit: int) -> Sequence[ModelChanged]:
        """The newest first."""

    def scoreboard(self, hours: float, by: str, horizon_s: float | None) -> Sequence[ModelScore]:
        """By `all`, `symbol` or `venue`; on every horizon where none is named."""

    def change(self, change: ModelChange) -> ModelChangeTaken:
        """Say a change on the log; what scoring made of it, as far as it has within some seconds. Raises: `ModelError`."""


class AlertRules(Protocol):
    """The alert rules, which the log changes. Raises: `RuleError` for a rule that cannot be judged, `BackendError`."""

    def standing(self) -> Sequence[StandingRule]:
        """Those that stand, by id."""

    def change(self, change: RuleChange) -> RuleTaken:
        """Say a change on the log; what scoring made of it, as far as it has within some seconds."""

    def backtest(self, rule: Rule, begin: int | None, end: int | None) -> Backtest:
        """How often a rule would have fired between two times of the broker's clock, ns; in a process of its own.

        Raises: `InputError` for a stretch that is not on the log.
        """


class AlertHistory(Protocol):
    """What rules have said. Raises: `BackendError`."""

    def alerts(self, rule: str, symbol: str, span: Span) -> Sequence[Alert]:
        """The newest first: at `start` or later, and before `end`; of every rule or symbol where it is empty."""


class AlertHooks(Protocol):
    """Where alerts are delivered to, and what became of each. Raises: `UnknownEndpoint`, `TargetRefused`, `OutboxError`."""

    def endpoints(self) -> Sequence[Endpoint]:
        """Every endpoint, the oldest first."""

    def add(self, wanted: NewEndpoint) -> tuple[Endpoint, Secret]:
        """The new endpoint, and its secret, which is told this once."""

    def remove(self, endpoint: str) -> None:
        """Forget it with its deliveries."""

    def rotate(self, endpoint: str, overlap: timedelta) -> Secret:
        """A new secret; the one before signs beside it until the overlap is over."""

    def enable(self, endpoint: str) -> None:
        """Use it again."""

    def ping(self, endpoint: str) -> int:
        """Put a test into the outbox; the delivery's id."""

    def deliveries(self, endpoint: str, state: str, before: int | None, limit: int) -> Sequence[Delivery]:
        """The newest first: of one endpoint, in one state, made before the delivery `before`, where given."""

    def delivery(self, delivery: int) -> DeliveryDetails:
        """One with its body and attempts."""

    def replay(self, delivery: int) -> None:
        """Deliver it again under the same id."""

    def replay_all(self, endpoint: str, since: int, *, every: bool) -> int:
        """The same for dead letters made since then, ns, and for what arrived where `every`; how many."""


@dataclass(frozen=True)
class Ports:
    """Everything the API reaches outside itself."""

    latest: LatestRows
    history: History
    status: Status
    meter: Meter
    exposition: Callable[[], bytes]
    """The metrics of this process in Prometheus' text format."""
    now_ns: Callable[[], int]
    """The wall clock: nanoseconds since the Unix epoch."""
    access: Access
    models: ModelDesk | None = None
    """Without it there is no `/v1/models`."""
    once: OnceStore | None = None
    """Without it an Idempotency-Key is not looked at."""
    predictor: Predictor | None = None
    """Without one there is nothing under `/v2`, and no `/v1/predict`."""
    rules: AlertRules | None = None
    alerts: AlertHistory | None = None
    """Without both there is nothing under `/v1/alerts`."""
    sql: SqlAccess | None = None
    """Without it there is no `/v1/sql`."""
    hooks: AlertHooks | None = None
    """Without it nothing under `/v1/alerts` is about delivery."""

"""Every exception tickwire raises on purpose.

TickwireError
├── SchemaError         bytes that are not what their topic declares
├── SettingsError       a setting that is unknown, misspelt or impossible
├── TargetRefused       an address that alerts must not be sent to
├── UnknownEndpoint     no endpoint, or delivery, has this id
├── AccessError         who may do what is not declared, or is kept in a broken file
├── InputError          a file or feed that is not what it says it is
├── IndicatorError      a declaration that cannot be folded
├── RuleError           an alert rule that cannot be judged
├── ModelError          a model that must not be used
│   └── TrainingError   a matrix that no model can be trained on
├── LogError            the event log is not the one our history was written from
├── RecoveryError       the saved state of a scoring process cannot be used
│   └── DiskError       the disk under it is full or fails
├── WriterError         this process must not write its partitions (any more)
│   └── WriterHeld      another process writes them
├── TelemetryError      a metric that nobody declared
├── QueryRefused        SQL of a user that we do not run
└── BackendError        a service we depend on failed; the worker stops
    ├── DatabaseError
    ├── DatabaseUnavailable
    ├── StoreUnavailable
    ├── OutboxError
    └── DeliveryError

Bad data is a value (`schemas.rows.DeadLetter`), never an exception that leaves the fold.
"""


class TickwireError(Exception):
    """Root of the tree: the message says what was expected, found, where, and what to do."""


class SchemaError(TickwireError):
    """Bytes that are not what their topic declares."""


class SettingsError(TickwireError):
    """A setting that is unknown, misspelt or impossible."""


class TargetRefused(TickwireError):
    """An address that alerts must not be sent to."""


class UnknownEndpoint(TickwireError):
    """No endpoint, or delivery, has this id."""


class AccessError(TickwireError):
    """Who may do what is not declared, or is kept in a file that cannot be trusted."""


class InputError(TickwireError):
    """A file or feed that is not what it says it is; the message names file, line and reason."""


class IndicatorError(TickwireError):
    """An indicator whose parameters make no sense."""


class RuleError(TickwireError):
    """An alert rule that cannot be judged: the message names the field and what is allowed."""


class ModelError(TickwireError):
    """A model that must not be used: wrong hash, wrong features, wrong answers, wrong device."""


class TrainingError(ModelError):
    """A matrix that no model can be trained on."""


class LogError(TickwireError):
    """The event log is not the one our history was written from."""


class RecoveryError(TickwireError):
    """The saved state of a scoring process cannot be used; the same state can be folded again from the log."""

    def __init__(self, where: object, found: str, todo: str = "") -> None:
        todo = todo or "run `tickwire rebuild` (`tickwire up --rebuild` where the services are embedded)"
        super().__init__(f"{where}: expected the state that scoring goes on from, found {found}; {todo}")


class DiskError(RecoveryError):
    """The disk under the saved state is full or fails: the state may be good, and folding it again would not mend the disk."""


class WriterError(TickwireError):
    """This process must not write its partitions (any more): another one does, or may."""


class WriterHeld(WriterError):
    """Another process writes a partition that this one was asked to write."""


class TelemetryError(TickwireError):
    """A metric, a label or a label value that nobody declared."""


class QueryRefused(TickwireError):
    """SQL of a user that we do not run; the message says what in it, and what may stand there."""


class BackendError(TickwireError):
    """A service we depend on failed; the worker stops rather than guess."""


class DatabaseError(BackendError):
    """ClickHouse refused a statement.

    `code` is ClickHouse's own (for example 60, UNKNOWN_TABLE).
    """

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class DatabaseUnavailable(BackendError):
    """ClickHouse did not answer."""


class StoreUnavailable(BackendError):
    """Redis did not answer."""


class OutboxError(BackendError):
    """The outbox could not be read or written. `passing`: it may work again by itself (disk full, file busy)."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class DeliveryError(BackendError):
    """Kafka did not acknowledge a record."""

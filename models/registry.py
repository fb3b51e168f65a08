"""What the batch side asks of a registry of models: keep a run with its model, name a version, give a model back.

A registry is where models come from, never where they score from: what it gives is bytes to be checked, and scoring reads
the cache beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, get_args

from msgspec import Struct

from models.manifest import Manifest
from schemas.errors import BackendError

Alias: TypeAlias = Literal["champion", "challenger"]
ALIASES: Final[tuple[str, ...]] = get_args(Alias)


class RegistryUnavailable(BackendError):
    """The registry is down, too slow, or not installed; models that are in the cache score on."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training: the model it made, and what is worth keeping of how it was made.

    `parameters` and `metrics` by their names; `reports` are files by their plain names, for people only: nothing reads them back.
    """

    manifest: Manifest
    content: bytes
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    reports: Mapping[str, bytes] = field(default_factory=dict)


class Version(Struct, frozen=True, kw_only=True):
    """What the registry says of one of its models."""

    version: str
    """The registry's own number."""
    model_id: str
    kind: str = ""
    trained_on: str = ""
    metrics: dict[str, float] = {}
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model as it came: `content` is what `manifest` names by sha256 and is not yet known to be fit for anything."""

    version: str
    manifest: Manifest
    content: bytes


class Registry(Protocol):
    """Where runs and their models are kept. `RegistryUnavailable` where it does not answer in time."""

    def log(self, run: Run) -> str:
        """Keep a run and its model; the version it got. A model that is there already keeps its version."""

    def alias(self, name: Alias, version: str) -> None:
        """Give a version this name, which it takes from the one that had it. `ModelError` where there is no such version."""

    def fetch(self, wanted: str) -> Fetched:
        """The model of an alias, of a version, or of an id. `ModelError` where there is none, or it is not what it should be."""


class Listing(Protocol):
    """What there is to fetch."""

    def versions(self) -> Sequence[Version]:
        """Every version, the newest first."""

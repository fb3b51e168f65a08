"""Small models with known scores, and a registry that is two dictionaries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from infra.registry import trained_on_text
from models.manifest import Manifest
from models.registry import ALIASES, Alias, Fetched, RegistryUnavailable, Run, Version
from schemas.errors import ModelError
from tests.models.rows import described, logistic

ROWS = ([1.0, 0.5, -2.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0])
NAMES = ("a", "b", "c")
FEATURES = "abc1"


def model(bias: float = 0.25) -> tuple[Manifest, bytes]:
    """P(up) = sigmoid(a - 2 b + c / 2 + bias), with canary rows of exactly that."""
    content = logistic(bias)
    scores = [1.0 / (1.0 + math.exp(-(a - 2.0 * b + 0.5 * c + bias))) for a, b, c in ROWS]
    return described(content, ROWS, scores), content


def run_of(bias: float = 0.25, **metrics: float) -> Run:
    manifest, content = model(bias)
    return Run(manifest, content, metrics=metrics)


@dataclass
class ListRegistry:
    """`Registry` and `Listing` in memory; `fault` is raised by every call while it is set."""

    runs: list[Run] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    fault: Exception | None = None
    asked: int = 0

    def log(self, run: Run) -> str:
        self._answer()
        ids = [each.manifest.id for each in self.runs]
        if run.manifest.id not in ids:
            self.runs.append(run)
            ids.append(run.manifest.id)
        return str(ids.index(run.manifest.id) + 1)

    def alias(self, name: Alias, version: str) -> None:
        self._answer()
        self._run(version)
        self.names[name] = version

    def fetch(self, wanted: str) -> Fetched:
        self._answer()
        versions = {run.manifest.id: str(number) for number, run in enumerate(self.runs, 1)}
        version = self.names.get(wanted, "") if wanted in ALIASES else versions.get(wanted, wanted)
        run = self._run(version)
        return Fetched(version, run.manifest, run.content)

    def versions(self) -> Sequence[Version]:
        self._answer()
        found = [self._told(str(number), run) for number, run in enumerate(self.runs, 1)]
        return found[::-1]

    def _told(self, version: str, run: Run) -> Version:
        aliases = tuple(sorted(name for name, named in self.names.items() if named == version))
        return Version(
            version=version, model_id=run.manifest.id, kind=run.manifest.kind, metrics=dict(run.metrics), aliases=aliases,
            trained_on=trained_on_text(run.manifest.trained_on),
        )  # fmt: skip

    def _run(self, version: str) -> Run:
        if not version.isdecimal() or not 0 < int(version) <= len(self.runs):
            raise ModelError(f"no version {version!r}")
        return self.runs[int(version) - 1]

    def _answer(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault


DOWN = RegistryUnavailable("http://registry: connection refused")


def tampered(run: Run, **changes: object) -> Run:
    """The same run with other words in its manifest."""
    return Run(msgspec.structs.replace(run.manifest, **changes), run.content)

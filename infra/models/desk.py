"""The API's `ModelDesk`: models out of the cache, who scores by what scoring says, changes onto the log."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, cast

import msgspec

from api.model_answers import Measure, ModelChanged, ModelChangeTaken, ModelInfo, ModelScore
from api.ports import Status
from api.times import to_rfc3339
from infra.clickhouse import Database
from infra.clock import WallClock
from infra.log_identity import current_log
from infra.models.cache import Kept
from infra.models.changes import checked, taken, write_change
from infra.models.line_up import newest_line_up
from infra.models.places import cache_of
from infra.models.scoreboard import MEASURES, By, Line, Wanted, scoreboard
from infra.registry import trained_on_text
from infra.settings import Settings
from processors.scores import NO_MODEL, ONLINE
from schemas.control import ModelChange
from schemas.errors import BackendError

TAKEN_WITHIN_S: Final = 5.0
_log = logging.getLogger("tickwire.api")
COLUMNS: Final = (
    "action", "model_id", "by", "why", "refused", "champion", "onnx_id", "challengers", "log_id", "src_partition", "src_offset",
)  # fmt: skip


@dataclass(frozen=True)
class LiveModels:
    """`api.ports.ModelDesk` of one installation."""

    settings: Settings
    database: Database
    status: Status

    def models(self) -> Sequence[ModelInfo]:
        """By id, those that score first."""
        roles = dict(self._roles())
        kept = {each.model_id: each for each in cache_of(self.settings).entries()}
        told = [_info(each, kept.get(each), roles.get(each, ())) for each in sorted(kept.keys() | roles.keys())]
        return sorted(told, key=lambda one: not one.roles)

    def scoring(self) -> str:
        """By the first scoring process that has an ONNX model."""
        named = (document.models.get("onnx", "") for document in self.status.scores())
        return next((each for each in named if each and each != NO_MODEL), "")

    def changes(self, limit: int) -> Sequence[ModelChanged]:
        """By event time."""
        columns = ", ".join(f"`{each}`" for each in COLUMNS)
        rows = self.database.rows(
            f"SELECT toUnixTimestamp64Nano(ts_event) AS at, {columns} "  # noqa: S608
            f"FROM `{self.settings.clickhouse.database}`.model_changes FINAL "
            "ORDER BY at DESC, src_partition, src_offset DESC LIMIT {limit:UInt32}",
            {"limit": limit},
        ).rows
        return [_changed(int(at), dict(zip(COLUMNS, rest, strict=True))) for at, *rest in rows]

    def scoreboard(self, hours: float, by: str, horizon_s: float | None) -> Sequence[ModelScore]:
        """By the outcomes in ClickHouse; groups of symbols are those of the settings."""
        horizons = () if horizon_s is None else (round(horizon_s * 1e9),)
        wanted = Wanted(hours, self.settings.models.groups, cast(By, by), horizons)
        return [_scored(line) for line in scoreboard(self.database, self.settings.clickhouse.database, wanted)]

    def change(self, change: ModelChange) -> ModelChangeTaken:
        """Onto the log, and what came of it within some seconds."""
        checked(self.settings, change)
        found = self._answers(write_change(self.settings.kafka, change, WallClock()))
        return ModelChangeTaken(
            action=change.action, model=change.model, everywhere=len(found) == self.settings.kafka.partitions,
            fence={str(partition): offset for partition, (offset, why) in found.items() if not why},
            refused={str(partition): why for partition, (_, why) in found.items() if why},
        )  # fmt: skip

    def _answers(self, at: int) -> Mapping[int, tuple[int, str]]:
        """Of every partition that has folded the change of this time."""
        name, partitions = self.settings.clickhouse.database, self.settings.kafka.partitions
        try:
            return taken(self.database, name, at, partitions, time.sleep, within_s=TAKEN_WITHIN_S)
        except BackendError as error:  # it is on the log: an error would let who repeats it write it twice
            _log.warning("a change of the models is on the log, but what came of it cannot be told: %s", error)
            return {}

    def _roles(self) -> Iterator[tuple[str, Sequence[str]]]:
        champion, _ = newest_line_up(self.settings, self.database, current_log(self.settings.kafka).log_id)
        for document in self.status.scores():
            for name, model in document.models.items():
                if model and model != NO_MODEL:
                    role = "challenger" if name.startswith("challenger") else name
                    yield (ONLINE if name == ONLINE else model), ("champion", role) if role == champion else (role,)


def _info(model_id: str, kept: Kept | None, roles: Sequence[str]) -> ModelInfo:
    manifest = kept.manifest if kept else None
    metrics = msgspec.to_builtins(manifest.metrics) if manifest and manifest.metrics else {}
    return ModelInfo(
        id=model_id,
        name=manifest.name if manifest else model_id.rpartition("-")[0] or model_id,
        kind=manifest.kind if manifest else "river" if model_id == ONLINE else "",
        roles=roles,
        horizon_s=manifest.label.horizon_s if manifest else None,
        features_id=manifest.features_id if manifest else "",
        trained_on=trained_on_text(manifest.trained_on) if manifest else "",
        created=to_rfc3339(manifest.created_ns) if manifest and manifest.created_ns else None,
        metrics={name: float(value) for name, value in metrics.items() if isfinite(value)},
        fault=kept.fault if kept else "",
    )


def _changed(at: int, row: Mapping[str, Any]) -> ModelChanged:
    return ModelChanged(
        ts_event=to_rfc3339(at), model=row["model_id"], onnx=row["onnx_id"], challengers=row["challengers"].split(),
        **{name: row[name] for name in ("action", "by", "why", "refused", "champion", "log_id", "src_partition", "src_offset")},
    )  # fmt: skip


def _scored(line: Line) -> ModelScore:
    found = line.found
    return ModelScore(
        group=line.group, horizon_s=line.horizon_s, model=line.model, outcomes=line.outcomes,
        champion_share=line.champion_share, trades=found.trades if found else 0, why=line.why,
        measures={} if found is None else {name: _measure(getattr(found, name)) for name in MEASURES},
    )  # fmt: skip


def _measure(interval: Any) -> Measure:
    return Measure(**{end: _finite(getattr(interval, end)) for end in ("value", "low", "high")})


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None

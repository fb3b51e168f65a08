"""What the scoring process knows of itself: counts for metrics, and its status for readiness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.columns import HEARTBEAT
from processors.ledger import DOORS
from processors.scores import ONLINE, LineUp
from processors.shard import ShardOutput
from schemas.rows import FeedState, ScoreStatus
from streams.ports import Clock, Meter


@dataclass(slots=True)
class Report:
    """Gathers from every output of the fold; `status` may be asked from another thread."""

    group: str
    log_id: str
    partitions: Sequence[int]
    models: Mapping[str, str]
    provider: str
    features_id: str
    meter: Meter
    clock: Clock
    started_ns: int = field(init=False)
    offsets: dict[int, int] = field(default_factory=dict)
    counts: dict[int, Sequence[int]] = field(default_factory=dict)
    feeds: dict[str, FeedState] = field(default_factory=dict)
    _challengers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started_ns = self.clock.now_ns()

    def note(self, output: ShardOutput) -> None:
        """Count what a stretch made."""
        p, meter = output.partition, self.meter
        before = self.counts.get(p, (0,) * len(DOORS))
        for name, now, then in zip(DOORS, output.counts, before, strict=True):
            if now > then:
                meter.count("tickwire_score_events_total", now - then, outcome=name)
        self.counts[p] = output.counts
        for letter in output.stretch.rejected:
            meter.count("tickwire_score_dead_letters_total", reason=letter.reason)
        meter.count("tickwire_score_predictions_total", len(output.folded))
        meter.count("tickwire_score_outcomes_total", len(output.outcomes))
        meter.count("tickwire_score_bars_total", len(output.bars))
        meter.gauge("tickwire_score_batch_events", len(output.stretch.events), partition=str(p))
        meter.gauge("tickwire_score_symbols", len(output.names), partition=str(p))
        self.offsets[p] = _next_offset(output)
        if output.scores.line_ups:
            self._name(output.scores.line_ups[-1])
        for each in output.changes:
            meter.count(
                "tickwire_score_model_changes_total", action=each.change.action, refused="yes" if each.refused else "no"
            )
        for alert in output.alerts:
            meter.count("tickwire_score_alerts_total", state="fired" if alert.fired else "cleared")
        for turn in output.rule_changes:
            meter.count("tickwire_score_rule_changes_total", refused="yes" if turn.refused else "no")
        self._time(output)

    @property
    def challengers(self) -> Sequence[str]:
        """Ids, the newest last."""
        return list(self._challengers)

    def _name(self, now: LineUp) -> None:
        """Who scores now, for the status."""
        online = {name: model for name, model in self.models.items() if name == ONLINE}
        beside = {f"challenger{place}": name for place, name in enumerate(now.challengers, 1) if name}
        self.models = {**online, "onnx": now.onnx, **beside}
        stay = [model for model in self._challengers if model in now.challengers]
        self._challengers = [*stay, *(model for model in now.challengers if model and model not in stay)]

    def _time(self, output: ShardOutput) -> None:
        if len(output.folded):
            waited = self.clock.now_ns() - int(output.events.ts_ingest[output.folded[0]])
            self.meter.observe("tickwire_score_event_to_published_seconds", max(0.0, waited / 1e9))
            newest = int(output.batch.now.max()) / 1e9
            self.meter.gauge("tickwire_score_last_event_timestamp_seconds", newest, partition=str(output.partition))
        beats = np.flatnonzero(output.events.kind == HEARTBEAT)
        for number, count in zip(*np.unique(output.events.venue[beats], return_counts=True), strict=True):
            self.meter.count("tickwire_source_heartbeats_total", int(count), venue=output.venues[number])
        for i in beats[-4:].tolist():
            venue, up = output.venues[output.events.venue[i]], bool(output.events.up[i])
            at = int(output.events.ts_event[i])
            self.meter.gauge("tickwire_source_up", float(up), venue=venue)
            self.feeds[venue] = FeedState(venue=venue, ts_event=at, state="up" if up else "down")

    def status(self, lag: Mapping[int, int]) -> ScoreStatus:
        """What it is doing now."""
        sums = [sum(counts[i] for counts in list(self.counts.values())) for i in range(len(DOORS))]
        for partition, waiting in lag.items():
            self.meter.gauge("tickwire_score_lag_records", waiting, partition=str(partition))
        now = self.clock.now_ns()
        return ScoreStatus(
            ts=now, group=self.group, log_id=self.log_id, partitions=tuple(self.partitions),
            offsets={str(p): offset for p, offset in dict(self.offsets).items()},
            lag={str(p): waiting for p, waiting in lag.items()}, provider=self.provider, models=dict(self.models),
            features_id=self.features_id, events=dict(zip(DOORS, sums, strict=True)),
            uptime_s=(now - self.started_ns) / 1e9, feeds=tuple(self.feeds.values()),
        )  # fmt: skip


def _next_offset(output: ShardOutput) -> int:
    ends = [int(output.stretch.offsets[-1])] if len(output.stretch.offsets) else []
    ends += [letter.offset for letter in output.stretch.rejected[-1:]]
    return max(ends) + 1 if ends else 0

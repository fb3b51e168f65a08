"""Every metric tickwire exports, declared once, and the registry that holds their values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Final, Literal, TypeVar
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)

from schemas.errors import TelemetryError

M = TypeVar("M", Counter, Gauge, Histogram)

LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
ANY: Final[frozenset[str]] = frozenset()
"""A label whose values are bounded by what sets them (partitions, route templates, model names), not by a list here."""
MAX_SERIES: Final = 500
"""Of one metric; the next new combination of label values is counted under `other` in every open label."""
OTHER: Final = "other"


@dataclass(frozen=True)
class Metric:
    """One declared metric: its kind, its help text, and the values that each label may take."""

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)


def _counter(help_: str, **labels: frozenset[str]) -> Metric:
    return Metric("counter", help_, labels)


def _histogram(help_: str, **labels: frozenset[str]) -> Metric:
    return Metric("histogram", help_, labels)


def _gauge(help_: str, **labels: frozenset[str]) -> Metric:
    return Metric("gauge", help_, labels)


OUTCOMES: Final = frozenset({"folded", "duplicate", "late", "rejected", "control"})
STAGES: Final = frozenset(
    {
        "consume", "decode", "advance", "features", "score_onnx", "score_online", "learn", "labels", "bars",
        "blocks", "clickhouse", "clickhouse_wait", "predictions", "acknowledge", "latest", "redis", "snapshot",
    }
)  # fmt: skip
WAITS: Final = frozenset({"unavailable", "disk_full", "busy"})
RENEWALS: Final = frozenset({"renewed", "failed"})
AUDITED: Final = frozenset({"features", "predictions", "events", "dead_letters"})
HOOKS: Final = frozenset({"webhook", "slack", "mail", "ses", "sns"})
ATTEMPTS: Final = frozenset({"sent", "failed", "refused", "gone"})

METRICS: Final[Mapping[str, Metric]] = {
    "tickwire_collect_events_total": _counter("Events that a source wrote to the log", source=ANY),
    "tickwire_collect_rejected_total": _counter("Messages of a source that became dead letters", source=ANY),
    "tickwire_collect_reconnects_total": _counter("Times a source was connected to anew", source=ANY),
    "tickwire_collect_gaps_total": _counter("Times trades were missing in a feed", source=ANY),
    "tickwire_collect_recovered_total": _counter("Missing trades that the source's history still had", source=ANY),
    "tickwire_collect_missed_total": _counter("Missing trades that nobody has any more", source=ANY),
    "tickwire_news_items_total": _counter("News items read"),
    "tickwire_news_signals_total": _counter("Signals made of news items, one per symbol"),
    "tickwire_news_unnamed_total": _counter("News items that name no symbol"),
    "tickwire_news_rejected_total": _counter("News records that became dead letters"),
    "tickwire_alerts_read_total": _counter("Alerts that are in the outbox, or that no endpoint wants"),
    "tickwire_alerts_rejected_total": _counter("Records of the alerts topic that became dead letters"),
    "tickwire_hooks_attempts_total": _counter("Attempts to deliver", channel=HOOKS, outcome=ATTEMPTS),
    "tickwire_hooks_dead_total": _counter("Deliveries that became dead letters", channel=HOOKS),
    "tickwire_hooks_disabled_total": _counter("Endpoints disabled because they were gone, or failed for too long"),
    "tickwire_hooks_alert_to_sent_seconds": _histogram("From an alert on its topic to the receiver's answer, first attempts"),
    "tickwire_hooks_waiting": _gauge("Deliveries that wait for an attempt"),
    "tickwire_hooks_oldest_seconds": _gauge("Age of the oldest delivery that waits"),
    "tickwire_hooks_endpoint_up": _gauge("0 while an endpoint that fails is left alone or tried out", endpoint=ANY),
    "tickwire_score_events_total": _counter("Events by what became of them; they add up", outcome=OUTCOMES),
    "tickwire_score_dead_letters_total": _counter("Records that could not be used, by reason", reason=ANY),
    "tickwire_score_predictions_total": _counter("Predictions published"),
    "tickwire_score_outcomes_total": _counter("Predictions whose horizon has passed"),
    "tickwire_score_bars_total": _counter("Bars issued, revisions included"),
    "tickwire_score_revisions_total": _counter("Bars issued again", reason=ANY),
    "tickwire_score_stage_seconds": _histogram("Time one micro-batch spent in a stage", stage=STAGES),
    "tickwire_score_event_to_published_seconds": _histogram("From ts_ingest of an event to its published prediction"),
    "tickwire_score_batch_events": _gauge("Events in the newest micro-batch", partition=ANY),
    "tickwire_score_lag_records": _gauge("Records that wait in the topic", partition=ANY),
    "tickwire_score_symbols": _gauge("Symbols whose state is held", partition=ANY),
    "tickwire_score_last_event_timestamp_seconds": _gauge("Newest event time folded", partition=ANY),
    "tickwire_score_ledger_mismatch_records": _gauge("Records in the log minus those in the ledger", partition=ANY),
    "tickwire_source_heartbeats_total": _counter("Heartbeats of a venue that were folded", venue=ANY),
    "tickwire_source_up": _gauge("1 while the newest heartbeat of a venue says that its feed is up", venue=ANY),
    "tickwire_audit_missing_rows": _gauge("Rows that ClickHouse should hold and does not", table=AUDITED),
    "tickwire_audit_extra_rows": _gauge("Rows that ClickHouse holds more than once, or of nothing", table=AUDITED),
    "tickwire_audit_checked_timestamp_seconds": _gauge("When the auditor last counted"),
    "tickwire_audit_failures_total": _counter("Rounds of the auditor that ClickHouse did not answer"),
    "tickwire_log_lost_records": _gauge("Records that nobody folds: taken by a broker's crash, or past retention before"),
    "tickwire_model_score_seconds": _histogram("Time of one call of a model", model=ANY),
    "tickwire_score_alerts_total": _counter("What alert rules said", state=ANY),
    "tickwire_score_rule_changes_total": _counter("Changes of the alert rules in the fold", refused=ANY),
    "tickwire_score_model_changes_total": _counter("Changes of the models in the fold", action=ANY, refused=ANY),
    "tickwire_clickhouse_rows_total": _counter("Rows inserted", table=ANY),
    "tickwire_clickhouse_insert_seconds": _histogram("Time of one insert", table=ANY),
    "tickwire_clickhouse_retries_total": _counter("Inserts that failed and were tried again", table=ANY),
    "tickwire_clickhouse_restored_total": _counter("Blocks acknowledged but not there, stored again", table=ANY),
    "tickwire_clickhouse_waiting": _gauge("1 while inserts wait for ClickHouse, by reason", reason=WAITS),
    "tickwire_writer_lease_held": _gauge("1 while this process is the writer of its partitions"),
    "tickwire_writer_renewals_total": _counter("Renewals of the lease", outcome=RENEWALS),
    "tickwire_redis_reachable": _gauge("1 while the newest rows reach Redis, 0 while they wait for it"),
    "tickwire_feed_clients": _gauge("WebSocket clients connected"),
    "tickwire_feed_messages_total": _counter("Messages that came from the topics", channel=ANY),
    "tickwire_feed_refused_total": _counter("Messages that nobody, or not every format, can be sent", channel=ANY),
    "tickwire_feed_duplicate_total": _counter("Messages that had come before, said again after a crash", channel=ANY),
    "tickwire_feed_unfilled_total": _counter("Subscriptions that did not wait any longer for what was said before"),
    "tickwire_feed_held_bytes": _gauge("Messages held for clients that come back"),
    "tickwire_feed_frames_total": _counter("WebSocket frames sent"),
    "tickwire_feed_sent_bytes_total": _counter("Bytes sent in frames"),
    "tickwire_feed_conflated_total": _counter("Messages skipped for a newer one of the same symbol"),
    "tickwire_feed_gaps_total": _counter("Gap frames", reason=ANY),
    "tickwire_feed_closed_total": _counter("Connections ended, by reason", reason=ANY),
    "tickwire_feed_fanout_seconds": _histogram("From publish to the hand-over to every client's queue"),
    "tickwire_rate_limits_shared_up": _gauge("0 while Redis is away and each process counts rates for itself"),
    "tickwire_http_requests_total": _counter("Requests", route=ANY, method=ANY, status=ANY),
    "tickwire_http_request_seconds": _histogram("Time of a request, body included", route=ANY),
}  # fmt: skip


class Telemetry:
    """A `Meter` on a registry of its own (Bytewax fills the global one with its own series).

    Raises: `TelemetryError` for a name, a label or a label's value that `metrics` does not declare.
    """

    def __init__(self, metrics: Mapping[str, Metric] = METRICS) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._metrics = metrics
        self._counters = {name: Counter(*self._arguments(name)) for name in self._of("counter")}
        self._gauges = {name: Gauge(*self._arguments(name)) for name in self._of("gauge")}
        self._histograms = {
            name: Histogram(*self._arguments(name), buckets=LATENCY_BUCKETS) for name in self._of("histogram")
        }
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in metrics}
        self._show_zeros()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(self._counters, name, labels).inc(amount)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One duration for a histogram."""
        self._child(self._histograms, name, labels).observe(seconds)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(self._gauges, name, labels).set(value)

    def exposition(self) -> bytes:
        """All values in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)

    def _of(self, kind: str) -> list[str]:
        return [name for name, metric in self._metrics.items() if metric.kind == kind]

    def _arguments(self, name: str) -> tuple[str, str, tuple[str, ...], str, str, str, CollectorRegistry]:
        metric = self._metrics[name]
        return name, metric.help, tuple(metric.labels), "", "", "", self.registry

    def _values(self, name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The label values in declared order, checked, and bounded in number."""
        declared = self._metrics[name].labels
        if not declared and not labels:
            return ()
        if labels.keys() != declared.keys():
            raise TelemetryError(f"{name} has the labels {sorted(declared)}, got {sorted(labels)}")
        for label, allowed in declared.items():
            if allowed and labels[label] not in allowed:
                raise TelemetryError(f"{name}: {label} must be one of {sorted(allowed)}, was {labels[label]!r}")
        values = tuple(labels[label] for label in declared)
        series = self._series[name]
        if values not in series:
            if len(series) >= MAX_SERIES:
                return tuple(value if declared[label] else OTHER for label, value in zip(declared, values, strict=True))
            series.add(values)
        return values

    def _child(self, declared: Mapping[str, M], name: str, labels: Mapping[str, str]) -> M:
        metric = declared.get(name)
        if metric is None:
            if name in self._metrics:
                raise TelemetryError(f"{name} is a {self._metrics[name].kind}; it was used as something else")
            raise TelemetryError(f"metric {name!r} is not declared; declare it in infra/telemetry.py")
        values = self._values(name, labels)
        return metric.labels(*values) if values else metric

    def _show_zeros(self) -> None:
        """A counter that nothing has happened to yet says 0, so that a rate over its first event is right."""
        for name in self._of("counter"):
            labels = self._metrics[name].labels
            if len(labels) == 1:
                label, allowed = next(iter(labels.items()))
                for value in sorted(allowed):
                    self.count(name, 0, **{label: value})


class MetricsServer:
    """`GET /metrics` for a process that has no API of its own; on a thread, until `close`."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server, self._thread = server, thread

    @property
    def port(self) -> int:
        """The port it listens on; useful where 0 was asked for."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening; returns when the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(telemetry: Telemetry, port: int, host: str = "127.0.0.1") -> MetricsServer:
    """Expose `telemetry` over HTTP. Raises: `OSError` where the port is taken."""
    return MetricsServer(*start_http_server(port, addr=host, registry=telemetry.registry))

"""The metrics we export: declared once, refused otherwise, readable by Prometheus' own parser."""

from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.telemetry import LATENCY_BUCKETS, MAX_SERIES, METRICS, STAGES, Telemetry, serve_metrics
from schemas.errors import TelemetryError

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(exposition: bytes) -> Samples:
    """Every sample by name and labels, as the reference parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
    }


def test_a_counter_adds_up_and_is_exported_under_its_declared_name() -> None:
    telemetry = Telemetry()
    telemetry.count("tickwire_score_events_total", 3, outcome="folded")
    telemetry.count("tickwire_score_events_total", outcome="folded")
    assert samples(telemetry.exposition())["tickwire_score_events_total", (("outcome", "folded"),)] == 4


def test_every_outcome_says_zero_before_anything_has_happened() -> None:
    found = samples(Telemetry().exposition())
    for outcome in ("folded", "duplicate", "late", "rejected", "control"):
        assert found["tickwire_score_events_total", (("outcome", outcome),)] == 0


def test_a_duration_falls_into_its_bucket_from_half_a_millisecond_to_ten_seconds() -> None:
    telemetry = Telemetry()
    telemetry.observe("tickwire_score_stage_seconds", 0.0004, stage="decode")
    telemetry.observe("tickwire_score_stage_seconds", 0.004, stage="decode")
    found = samples(telemetry.exposition())
    name = "tickwire_score_stage_seconds_bucket"
    assert found[name, (("le", "0.0005"), ("stage", "decode"))] == 1
    assert found[name, (("le", "0.002"), ("stage", "decode"))] == 1
    assert found[name, (("le", "0.005"), ("stage", "decode"))] == 2
    assert (LATENCY_BUCKETS[0], LATENCY_BUCKETS[-1]) == (0.0005, 10.0)


def test_a_gauge_keeps_the_newest_value() -> None:
    telemetry = Telemetry()
    telemetry.gauge("tickwire_score_lag_records", 7, partition="0")
    telemetry.gauge("tickwire_score_lag_records", 2, partition="0")
    assert samples(telemetry.exposition())["tickwire_score_lag_records", (("partition", "0"),)] == 2


def test_an_undeclared_name_is_refused_at_once() -> None:
    with pytest.raises(TelemetryError, match="'tickwire_score_evnts_total' is not declared"):
        Telemetry().count("tickwire_score_evnts_total", outcome="folded")


def test_a_name_of_another_kind_is_refused() -> None:
    with pytest.raises(TelemetryError, match="is a counter; it was used as something else"):
        Telemetry().gauge("tickwire_score_events_total", 1, outcome="folded")


@pytest.mark.parametrize("labels", [{}, {"stage": "decode", "symbol": "SIMA"}, {"symbol": "SIMA"}])
def test_labels_other_than_the_declared_ones_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(TelemetryError, match="has the labels"):
        Telemetry().observe("tickwire_score_stage_seconds", 1.0, **labels)


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(TelemetryError, match="stage must be one of"):
        Telemetry().observe("tickwire_score_stage_seconds", 1.0, stage="thinking")


def test_a_flood_of_label_values_ends_in_other() -> None:
    telemetry = Telemetry()
    for number in range(MAX_SERIES + 50):
        telemetry.count("tickwire_score_dead_letters_total", reason=f"r{number}")
    found = {labels: value for (name, labels), value in samples(telemetry.exposition()).items() if "dead_let" in name}
    assert len(found) == MAX_SERIES + 1
    assert found[(("reason", "other"),)] == 50


def test_every_name_says_its_subsystem_and_unit_and_has_a_help_text() -> None:
    units = (
        "_total",
        "_seconds",
        "_records",
        "_events",
        "_clients",
        "_symbols",
        "_rows",
        "_waiting",
        "_bytes",
        "_held",
        "_reachable",
        "_up",
    )
    for name, metric in METRICS.items():
        assert name.startswith("tickwire_"), name
        assert name.endswith(units), name
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert metric.help, name
        assert "symbol" not in metric.labels, name


def test_stages_are_those_of_the_flow() -> None:
    assert {"consume", "decode", "features", "score_onnx", "score_online", "clickhouse", "redis"} <= STAGES


def test_two_processes_worth_of_metrics_do_not_share_a_registry() -> None:
    one, other = Telemetry(), Telemetry()
    one.count("tickwire_feed_frames_total")
    assert samples(other.exposition())["tickwire_feed_frames_total", ()] == 0


def test_the_process_itself_is_in_the_exposition() -> None:
    assert samples(Telemetry().exposition())["process_resident_memory_bytes", ()] > 1_000_000


def test_a_process_without_an_api_serves_its_metrics_until_it_is_closed() -> None:
    telemetry = Telemetry()
    telemetry.count("tickwire_feed_frames_total", 5)
    server = serve_metrics(telemetry, 0)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert samples(answer.read())["tickwire_feed_frames_total", ()] == 5
    finally:
        connection.close()
        server.close()
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection("127.0.0.1", server.port, timeout=5).connect()

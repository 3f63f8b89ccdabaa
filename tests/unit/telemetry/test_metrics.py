from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from shipway.core.record import ServedRequest
from shipway.telemetry.metrics import DURATION_BUCKETS_S, DataPlaneMetrics

RECORD = ServedRequest(
    id="r",
    at_s=1.0,
    environment="p",
    route="ask",
    release="rel_a",
    is_candidate=False,
    candidate_weight=0.0,
    rollout=None,
    snapshot_version=1,
    conversation="c",
    conversation_source="header",
    tenant="acme",
    key_id="k",
    status=200,
    latency_ms=800.0,
    ttft_ms=100.0,
    tokens_in=10,
    tokens_cache_read=4,
    tokens_out=3,
    cost_usd=0.25,
    events=("abstained", "fallback"),
)


def samples(metrics: DataPlaneMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(item.name, frozenset(item.labels.items())): item.value for family in families for item in family.samples}


def value(metrics: DataPlaneMetrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_a_request_is_counted_with_its_route_release_and_class():
    metrics = DataPlaneMetrics()
    metrics.observe(RECORD)
    metrics.observe(replace(RECORD, status=503))
    for status_class in ("2xx", "5xx"):
        assert value(metrics, "shipway_requests_total", route="ask", release="rel_a", status_class=status_class) == 1


def test_tokens_are_an_additive_partition_and_cost_is_summed():
    metrics = DataPlaneMetrics()
    metrics.observe(RECORD)
    metrics.observe(RECORD)
    tokens = [
        value(metrics, "shipway_tokens_total", route="ask", release="rel_a", kind=kind)
        for kind in ("uncached", "cache_read", "output")
    ]
    assert tokens == [20, 8, 6]
    assert value(metrics, "shipway_cost_usd_total", route="ask", release="rel_a") == 0.5


def test_each_event_is_counted():
    metrics = DataPlaneMetrics()
    metrics.observe(RECORD)
    assert value(metrics, "shipway_events_total", route="ask", release="rel_a", event="fallback") == 1


def test_the_service_levels_are_exact_bucket_borders():
    assert {0.8, 2.5} <= set(DURATION_BUCKETS_S)
    metrics = DataPlaneMetrics()
    metrics.observe(RECORD)
    bucket = "shipway_request_duration_seconds_bucket"
    assert value(metrics, bucket, route="ask", release="rel_a", le="0.8") == 1
    assert value(metrics, bucket, route="ask", release="rel_a", le="0.4") == 0


def test_a_request_without_a_first_token_is_not_in_that_histogram():
    metrics = DataPlaneMetrics()
    metrics.observe(replace(RECORD, ttft_ms=None))
    assert value(metrics, "shipway_ttft_seconds_count", route="ask", release="rel_a") == 0


def test_routes_that_only_a_client_named_share_one_label():
    metrics = DataPlaneMetrics()
    for number in range(500):
        metrics.observe(replace(RECORD, route=f"made-up-{number}", release="", status=404))
    assert value(metrics, "shipway_requests_total", route="other", release="", status_class="4xx") == 500
    assert len(samples(metrics)) < 100


@pytest.mark.parametrize("label", ["route", "release"])
def test_labels_stay_bounded_in_a_process_that_never_restarts(label):
    metrics = DataPlaneMetrics()
    for number in range(200):
        metrics.observe(replace(RECORD, **{label: f"{label}-{number}"}))
    found = {dict(labels)[label] for name, labels in samples(metrics) if name == "shipway_requests_total"}
    assert len(found) == 65
    assert "other" in found


def test_gauges_and_record_outcomes_are_rendered():
    metrics = DataPlaneMetrics(CollectorRegistry())
    metrics.inflight.set(2)
    metrics.snapshot_version.set(7)
    metrics.records_pending.set_function(lambda: 5)
    metrics.queue_depth.set(1)
    metrics.count_records("stored", 3)
    names = ("shipway_inflight", "shipway_snapshot_version", "shipway_records_pending", "shipway_queue_depth")
    assert [value(metrics, name) for name in names] == [2, 7, 5, 1]
    assert value(metrics, "shipway_records_total", outcome="stored") == 3


def test_an_unknown_outcome_is_refused_by_name():
    with pytest.raises(ValueError, match="lost"):
        DataPlaneMetrics().count_records("lost")


def test_two_workers_metrics_share_nothing():
    first, second = DataPlaneMetrics(), DataPlaneMetrics()
    first.observe(RECORD)
    assert value(second, "shipway_cost_usd_total", route="ask", release="rel_a") is None

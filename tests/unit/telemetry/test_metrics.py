from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from shipway.core.record import ServedRequest
from shipway.telemetry.exposition import rendered
from shipway.telemetry.families import DURATION_BUCKETS_S, FAMILIES
from shipway.telemetry.metrics import DataPlaneMetrics

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
    return samples(metrics).get((name, frozenset({"worker": "gateway-0", **labels}.items())))


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


def names_of(metrics: DataPlaneMetrics, label: str) -> set[str]:
    return {dict(labels)[label] for name, labels in samples(metrics) if name == "shipway_requests_total"}


def test_a_route_beyond_the_64th_is_counted_as_other():
    metrics = DataPlaneMetrics()
    for number in range(200):
        metrics.observe(replace(RECORD, route=f"route-{number}"))
    found = names_of(metrics, "route")
    assert len(found) == 65
    assert "other" in found


def test_of_many_releases_the_newest_keep_their_names_in_a_process_that_never_restarts():
    metrics = DataPlaneMetrics()
    for number in range(200):
        metrics.observe(replace(RECORD, release=f"rel_{number}"))
    found = names_of(metrics, "release")
    assert len(found) == 64
    assert {"rel_199", "rel_136"} <= found


def test_events_and_error_codes_stay_bounded():
    metrics = DataPlaneMetrics()
    for number in range(100):
        metrics.observe(replace(RECORD, events=(f"e{number}",), error_type=f"c{number}", status=500))
    events = [labels for name, labels in samples(metrics) if name == "shipway_events_total"]
    codes = [labels for name, labels in samples(metrics) if name == "shipway_errors_total"]
    assert (len(events), len(codes)) == (33, 33)
    assert value(metrics, "shipway_errors_total", route="ask", release="rel_a", code="other") == 68


def test_a_request_over_a_limit_is_counted_by_the_limit():
    metrics = DataPlaneMetrics()
    metrics.observe(replace(RECORD, status=429, error_type="rate_limited", release="", ttft_ms=None))
    metrics.observe(replace(RECORD, status=503, error_type="overloaded"))
    assert value(metrics, "shipway_rejected_total", kind="rate_limited") == 1
    assert value(metrics, "shipway_rejected_total", kind="overloaded") is None


def test_the_speed_of_generation_leaves_the_wait_for_the_first_token_out():
    metrics = DataPlaneMetrics()
    metrics.observe(replace(RECORD, latency_ms=2100.0, ttft_ms=100.0, tokens_out=101))
    assert value(metrics, "shipway_output_tokens_per_second_sum", route="ask", release="rel_a") == 50.0
    bucket = "shipway_output_tokens_per_second_bucket"
    assert value(metrics, bucket, route="ask", release="rel_a", le="50.0") == 1
    assert value(metrics, bucket, route="ask", release="rel_a", le="35.0") == 0


@given(st.lists(st.floats(min_value=0, max_value=200_000, allow_nan=False), max_size=40))
def test_buckets_hold_what_the_prometheus_client_would_put_there(latencies):
    metrics = DataPlaneMetrics()
    registry = CollectorRegistry()
    theirs = Histogram("h", "h", buckets=DURATION_BUCKETS_S, registry=registry)
    for latency_ms in latencies:
        metrics.observe(replace(RECORD, latency_ms=latency_ms))
        theirs.observe(latency_ms / 1000)
    for border in [*map(str, DURATION_BUCKETS_S), "+Inf"]:
        ours = value(metrics, "shipway_request_duration_seconds_bucket", route="ask", release="rel_a", le=border)
        assert (ours or 0) == registry.get_sample_value("h_bucket", {"le": border})


def test_an_answer_from_the_cache_is_counted_with_what_it_saved():
    metrics = DataPlaneMetrics()
    metrics.observe(replace(RECORD, cache_hit="semantic", tokens_saved=40, saved_usd=0.5))
    metrics.observe(RECORD)
    of = {"route": "ask", "release": "rel_a"}
    assert value(metrics, "shipway_cache_hits_total", kind="semantic", **of) == 1
    assert value(metrics, "shipway_cache_saved_tokens_total", **of) == 40
    assert value(metrics, "shipway_cache_saved_usd_total", **of) == 0.5


def test_counters_of_others_are_added_by_family_and_label():
    metrics = DataPlaneMetrics()
    metrics.count("shipway_feedback", "ask", "rel_a", "up")
    metrics.count("shipway_feedback", "ask", "rel_a", "up", by=2)
    assert value(metrics, "shipway_feedback_total", route="ask", release="rel_a", rating="up") == 3


@pytest.mark.parametrize("wrong", [("shipway_made_up",), ("shipway_inflight",), ("shipway_feedback", "ask")])
def test_an_unknown_counter_or_a_missing_label_is_refused(wrong):
    with pytest.raises(ValueError, match="shipway_"):
        DataPlaneMetrics().count(*wrong)


def test_the_label_values_of_a_counter_are_bounded():
    metrics = DataPlaneMetrics()
    for number in range(1000):
        metrics.count("shipway_rejected", f"kind-{number}")
    kinds = [labels for name, labels in samples(metrics) if name == "shipway_rejected_total"]
    assert len(kinds) == 257
    assert value(metrics, "shipway_rejected_total", kind="other") == 744


def test_a_counter_by_release_keeps_the_newest_in_a_process_that_never_restarts():
    metrics = DataPlaneMetrics()
    for number in range(1000):
        metrics.count("shipway_feedback", "ask", f"rel_{number}", "up")
    rows = [dict(labels) for name, labels in samples(metrics) if name == "shipway_feedback_total"]
    assert len(rows) == 256
    assert "rel_999" in {row["release"] for row in rows}


def test_a_gauge_may_give_a_value_for_each_label_value():
    metrics = DataPlaneMetrics()
    metrics.gauge("shipway_breaker_state").set_function(lambda: {("a:1",): 2, ("b:2",): 0})
    assert value(metrics, "shipway_breaker_state", engine="a:1") == 2
    assert value(metrics, "shipway_breaker_state", engine="b:2") == 0
    with pytest.raises(ValueError, match="made_up"):
        metrics.gauge("made_up")


def test_what_the_whole_host_shares_names_no_worker_and_is_not_added_up():
    first, second = DataPlaneMetrics("gateway-0"), DataPlaneMetrics("gateway-1")
    for metrics in (first, second):
        metrics.gauge("shipway_process_restarts").set_function(lambda: {("engine-small",): 3})
    text = rendered([("gateway-0", first.tables()), ("gateway-1", second.tables())]).decode()
    assert 'shipway_process_restarts_total{process="engine-small"} 3.0' in text


def test_every_family_is_shown_before_anything_was_counted_and_the_client_can_parse_it():
    families = {item.name: item for item in text_string_to_metric_families(DataPlaneMetrics().render().decode())}
    assert [(item.name, item.kind) for item in FAMILIES if families[item.name].type != item.kind] == []


def test_a_label_value_with_quotes_backslashes_and_newlines_survives_the_exposition():
    metrics = DataPlaneMetrics()
    metrics.observe(replace(RECORD, release='a"b\\c\nd'))
    assert value(metrics, "shipway_cost_usd_total", route="ask", release='a"b\\c\nd') == 0.25


def test_gauges_and_record_outcomes_are_rendered():
    metrics = DataPlaneMetrics()
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

"""What is counted of a record for metrics and rules, and of what was observed later."""

import base64
import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.rollouts.folds import EMPTY, observation, served, stored

from shipway.core.observation import PAIR, QUALITY, SAFETY, THUMBS, StoredObservation
from shipway.rollouts.baseline import Baseline, Figures
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.folding import fold, fold_observations
from shipway.rollouts.measuring import Measures, measures_of
from shipway.rollouts.metrics import DEFAULT_METRICS, Metric
from shipway.rollouts.plan import Plan
from shipway.rollouts.rules import Rules

FIGURES = Figures(requests=1000, latency_ms=(10.0, 90.0, 100.0, 500.0), ttft_ms=(1.0, 9.0, 10.0, 50.0))
BASELINE = Baseline("rel", 0.0, 1000.0, FIGURES, (("ask", FIGURES),))
METRICS = (
    *DEFAULT_METRICS,
    Metric("refused", "event", 0.05, events=("refusal", "blocked")),
    Metric("dear", "over", 0.05, of="cost_usd", limit=0.5),
)
MEASURES = measures_of(METRICS, Rules(), BASELINE)
START = replace(EMPTY, baseline=BASELINE)


def folded(*records, start=START, measures=MEASURES, **options):
    batch = stored(records, after=start.cursor)
    return fold(start, batch, rollout="ro", bad_events=("error",), measures=measures, **options)


def observed(evidence, *observations, after=0, measures=MEASURES):
    batch = [StoredObservation(after + number, item) for number, item in enumerate(observations, 1)]
    return fold_observations(evidence, batch, rollout="ro", measures=measures)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("latency", {"latency_ms": 100.1}),
        ("ttft", {"ttft_ms": 10.1}),
        ("refused", {"events": ("blocked",)}),
        ("dear", {"cost_usd": 0.6}),
    ],
)
def test_an_event_counts_once_a_conversation_for_its_arm_and_weight(name, fields):
    evidence = folded(
        served("a"),
        *[served("a", **fields)] * 3,
        served("b", candidate=True, weight=0.1, **fields),
        served("c", weight=0.1),
        served("c", weight=0.5, **fields),
    )
    assert evidence.sums(name).events == ((0, 1), (1, 0))
    assert [stratum.weight for stratum in evidence.strata] == [0.5, 0.1]


def test_what_is_at_the_limit_or_on_a_route_without_a_known_limit_is_no_event():
    evidence = folded(served("a", latency_ms=100.0, ttft_ms=10.0), served("b", latency_ms=9e9, route="new"))
    assert (evidence.sums("latency").events, evidence.sums("ttft").events) == ((), ())
    without = measures_of(METRICS, Rules(), None)
    assert folded(served("a", latency_ms=9e9), measures=without).sums("latency").events == ()


def test_a_mean_takes_the_first_request_of_a_conversation_that_tells_something():
    evidence = folded(
        served("a", tokens_out=10, cost_usd=0.01),
        served("a", tokens_out=1000, cost_usd=9.0),
        served("b", candidate=True, tokens_out=40, cost_usd=0.0),
        served("failed", candidate=True, tokens_out=99, status=500),
        served("again", candidate=True, cache_hit="exact", saved_usd=0.02, tokens_saved=50),
    )
    ((candidate, stable),) = evidence.sums("tokens").moments
    assert (candidate.count, stable.count, stable.mean) == (1, 1, pytest.approx(math.log(10)))
    ((candidate, stable),) = evidence.sums("cost").moments
    # An answer given again costs what it cost the first time.
    assert (candidate.count, candidate.mean, stable.count) == (1, pytest.approx(math.log(0.02)), 1)


def test_a_conversation_that_saw_both_arms_counts_for_no_metric_any_more():
    evidence = folded(served("a"), served("a", candidate=True), served("a", events=("refusal",)))
    assert evidence.sums("refused").events == ()


def test_windows_count_requests_and_the_first_trouble_of_each_conversation():
    evidence = folded(
        *[served("a", candidate=True, status=500, latency_ms=6000.0)] * 3,
        served("b", candidate=True, events=("unsafe",), latency_ms=601.0),
    )
    candidate, stable = evidence.windows.arms(1.0, 300.0)
    assert (candidate.requests, candidate.failures, candidate.failed) == (4, 3, 1)
    assert (candidate.slow, candidate.slowed, candidate.slower, candidate.slowered) == (3, 1, 4, 2)
    assert (candidate.unsafe, candidate.endangered, stable.requests) == (1, 1, 0)


def test_each_sampled_conversation_stands_for_those_that_are_not():
    records = [served(f"c{n}", candidate=True, status=500) for n in range(2000)]
    evidence = folded(*records, max_tracked=256)
    candidate, _ = evidence.windows.arms(1.0, 300.0)
    assert candidate.failures == 2000
    assert 1200 < candidate.failed < 3500
    assert 1200 < evidence.total().candidate.failed < 3500


def test_pairs_count_once_a_conversation_and_keep_it_out_of_the_comparison():
    pairs = [observation(PAIR, "a", -1.0, weight=0.0, candidate=True, id=str(n)) for n in range(3)]
    evidence = observed(START, *pairs, observation(PAIR, "b", 0.0, weight=0.0, candidate=True))
    state = evidence.sums("pairs").pairs
    assert (state.count, state.total) == (2, -1.0)
    later = folded(served("a", candidate=True, events=("error",)), start=evidence)
    assert (later.total().candidate.conversations, later.total().bad, later.crossed) == (0, 0, 0)


def test_scores_and_thumbs_count_for_conversations_that_are_compared_and_once():
    evidence = folded(served("a"), served("b", candidate=True), served("d", weight=0.1))
    evidence = observed(
        evidence,
        observation(QUALITY, "a", 0.9),
        observation(QUALITY, "a", 0.1, id="again"),
        observation(QUALITY, "b", 0.7, candidate=True),
        observation(QUALITY, "b", 0.7, candidate=False, id="the other arm"),
        observation(QUALITY, "d", 0.7, weight=0.5, id="another weight"),
        observation(QUALITY, "never seen", 0.7),
        observation(THUMBS, "a", 1.0),
        observation(THUMBS, "a", 0.0, id="changed their mind"),
    )
    ((candidate, stable),) = evidence.sums("quality").moments
    assert (candidate.count, candidate.mean, stable.count, stable.mean) == (1, 0.7, 1, 0.9)
    assert evidence.sums("thumbs").events == ((0, 1),)


def test_observations_reach_the_windows_and_those_of_others_only_move_the_cursor():
    evidence = folded(served("a", candidate=True))
    evidence = observed(
        evidence,
        observation(SAFETY, "a", 0.0, candidate=True),
        observation(QUALITY, "a", 0.5, candidate=True),
        observation(SAFETY, "a", 0.0, rollout="other", candidate=True),
    )
    candidate, _ = evidence.windows.arms(1.0, 300.0)
    assert (candidate.checked, candidate.unsafe_checked, candidate.scored, candidate.score_sum) == (1, 1, 1, 0.5)
    assert (evidence.observed, evidence.cursor) == (3, 1)
    assert observed(evidence, observation(SAFETY, "a", 0.0, candidate=True)) == evidence


request_strategy = st.builds(
    served,
    st.sampled_from([f"c{number}" for number in range(8)]),
    candidate=st.booleans(),
    weight=st.sampled_from([0.1, 0.5, 1.0]),
    events=st.lists(st.sampled_from(["error", "refusal", "unsafe"]), max_size=2).map(tuple),
    at_s=st.floats(0.0, 5000.0),
    latency_ms=st.sampled_from([1.0, 200.0, 7000.0]),
    cost_usd=st.sampled_from([0.0, 0.01, 0.7]),
    tokens_out=st.integers(0, 50),
)


@given(st.lists(request_strategy, max_size=30), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_folding_in_two_parts_through_the_stored_form_is_folding_at_once(records, cut):
    everything = stored(records)
    options = {"rollout": "ro", "bad_events": ("error",), "measures": MEASURES}
    at_once = fold(START, everything, **options)
    first = fold(START, everything[:cut], **options)
    loaded = CanaryEvidence.from_dict(json.loads(json.dumps(first.to_dict())))
    assert loaded == first
    second = fold(loaded, everything[cut:], **options)
    assert replace(second, sample_ratio=at_once.sample_ratio) == at_once


def test_a_row_of_before_there_were_metrics_goes_on_with_its_conversations():
    records = [served("a", candidate=True), served("b", events=("error",)), served("c"), served("c", candidate=True)]
    new = folded(*records, measures=Measures())
    old = new.to_dict()
    for name in ("conversations", "baseline", "metrics", "windows", "curve", "observed"):
        del old[name]
    # As it was stored then: 8 bytes of the same hash and one of flags, 4 counts an arm.
    hashes = {
        name: hashlib.blake2b(f"ro\x00{name}".encode(), digest_size=8, person=b"evidence").digest() for name in "abc"
    }
    flags = {"a": 0b0010_0000, "b": 0b0100_0000, "c": 0b1000_0000}
    packed = b"".join(hashes[name] + bytes([flags[name]]) for name in "abc")
    old["seen"] = base64.b64encode(packed).decode()
    for stratum in old["strata"]:
        for arm in ("candidate", "stable"):
            del stratum[arm]["failed"]
    loaded = CanaryEvidence.from_dict(old)
    assert {key: value & 0xFF for key, value in new.seen.items()} == loaded.seen
    later = folded(served("a", candidate=True, events=("error",)), served("b", events=("error",)), start=loaded)
    assert (later.total().candidate.bad, later.total().stable.bad, later.total().conversations) == (1, 1, 3)


def test_a_plan_of_before_there_were_metrics_is_judged_as_it_was_printed():
    old = Plan().to_dict()
    for name in ("metrics", "rules", "watch"):
        del old[name]
    plan = Plan.from_dict(old)
    assert (plan.metrics, plan.rules, plan.watch.action) == ((), Rules.off(), "off")
    assert Plan.from_dict(json.loads(json.dumps(Plan().to_dict()))) == Plan()


def test_the_row_stays_small_when_everything_is_full():
    records = [
        served(
            f"c{n}",
            candidate=n % 2 == 0,
            weight=(0.1, 0.5)[n % 2],
            at_s=n / 4,
            latency_ms=float(1 + n % 997 * 11),
            cost_usd=0.01,
            tokens_out=1 + n % 7,
            events=("error",) if n % 50 == 0 else (),
        )
        for n in range(16_384)
    ]
    evidence = folded(*records)
    assert len(evidence.seen) == 16_384
    assert len(json.dumps(evidence.to_dict())) < 250_000

import pytest

from shipway.core.errors import UsageError
from shipway.evals.gate_spec import LOWER_IS_BETTER, NonRegressionGate, ThresholdGate, ZeroToleranceGate, parse_gates
from shipway.evals.generation import JUDGED
from shipway.evals.metrics import METRICS


def test_each_kind_of_gate_is_parsed():
    assert parse_gates(
        [
            {"metric": "correct", "min": 0.8, "tags": ["policy"]},
            {"metric": "latency_ms", "max": 5000, "quantile": 0.99, "alpha": 0.1},
            {"metric": "correct", "non_regression": "auto"},
            {"metric": "mrr", "non_regression": 0.1},
            {"metric": "tenant_leak", "zero_tolerance": True, "max_rate": 0.01},
        ]
    ) == [
        ThresholdGate("correct", min=0.8, tags=("policy",)),
        ThresholdGate("latency_ms", max=5000.0, quantile=0.99, alpha=0.1),
        NonRegressionGate("correct"),
        NonRegressionGate("mrr", 0.1),
        ZeroToleranceGate("tenant_leak", 0.01),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"metric": "correct"},
            "needs exactly one of min, max, non_regression, zero_tolerance, model_update; has none of them",
        ),
        ({"metric": "correct", "min": 0.1, "max": 0.2}, "has min and max"),
        ({"min": 0.1}, "metric: expected a metric's name, got None"),
        ({"metric": "correct", "min": 0.1, "tag": ["x"]}, "tag: unknown key of a min gate; did you mean 'tags'?"),
        ({"metric": "correct", "min": "0.8"}, "min: expected a number, got '0.8'"),
        ({"metric": "correct", "min": True}, "min: expected a number, got True"),
        ({"metric": "correct", "min": float("nan")}, "min: expected a number, got nan"),
        ({"metric": "correct", "min": 0.8, "alpha": 0}, "alpha: expected a number between 0 and 1"),
        ({"metric": "correct", "min": 0.8, "tags": "policy"}, "tags: expected a list of texts"),
        ({"metric": "correct", "min": 0.8, "cluster_robust": 1}, "cluster_robust: expected true or false"),
        ({"metric": "latency_ms", "max": 5, "quantile": 99}, "quantile: expected a number between 0 and 1"),
        ({"metric": "correct", "non_regression": 0}, "expected 'auto' or a drop above 0"),
        ({"metric": "correct", "non_regression": "atuo"}, "non_regression: expected a number, got 'atuo'"),
        ({"metric": "tenant_leak", "zero_tolerance": False}, "zero_tolerance: expected true, got False"),
        ({"metric": "tenant_leak", "zero_tolerance": True, "max_rate": 1}, "max_rate: expected a number between"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(entry, message):
    with pytest.raises(UsageError) as caught:
        parse_gates([{"metric": "mrr", "min": 0.5}, entry])
    assert str(caught.value).startswith("gates[1]: ")
    assert message in str(caught.value)


def test_all_wrong_entries_are_reported_at_once():
    with pytest.raises(UsageError, match=r"gates\[0\]: .*\ngates\[2\]: "):
        parse_gates([{}, {"metric": "mrr", "min": 0.5}, {"metric": "mrr"}])


def test_labels_say_what_is_demanded():
    gates = parse_gates(
        [
            {"metric": "correct", "min": 0.8, "tags": ["policy", "pdf"]},
            {"metric": "latency_ms", "max": 5000, "quantile": 0.99},
            {"metric": "correct", "non_regression": "auto"},
            {"metric": "tenant_leak", "zero_tolerance": True},
        ]
    )
    assert [gate.label for gate in gates] == [
        "correct >= 0.8 [policy, pdf]",
        "p99 of latency_ms <= 5000",
        "correct does not regress",
        "tenant_leak never",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"metric": "mrr", "non_regression": "auto", "mode": "relative"}, "a relative drop is a share of the baseline"),
        ({"metric": "mrr", "non_regression": 2, "mode": "relative"}, "a relative drop is a share of the baseline"),
        ({"metric": "mrr", "non_regression": 0.1, "mode": "percent"}, "mode: expected 'absolute' or 'relative'"),
        ({"metric": "mrr", "min": 0.1, "mode": "relative"}, "mode: unknown key of a min gate"),
        ({"metric": "mrr", "min": 0.1, "reason": 3}, "reason: expected a text, got 3"),
        ({"model_update": True, "metric": "mrr"}, "metric: unknown key of a model_update gate"),
        ({"model_update": "yes"}, "model_update: expected true, got 'yes'"),
    ],
)
def test_a_wrong_mode_reason_or_model_update_is_refused(entry, message):
    with pytest.raises(UsageError) as caught:
        parse_gates([entry])
    assert message in str(caught.value)


def test_what_a_settings_section_writes_out_is_not_taken_for_given():
    entry = {"metric": "correct", "min": 0.5, "tags": (), "alpha": 0.05, "mode": "absolute", "model_update": False}
    assert parse_gates([entry]) == [ThresholdGate("correct", min=0.5)]


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("tenant_leak", "tenant_leak never"),
        ("correct", "correct always"),
        ("pass^3:correct", "pass^3:correct always"),
        ("promptfoo.pass", "no violation of promptfoo.pass"),
    ],
)
def test_zero_tolerance_is_said_in_the_words_of_what_is_better(metric, label):
    (spec,) = parse_gates([{"metric": metric, "zero_tolerance": True}])
    assert spec.label == label


def test_the_metrics_that_are_better_when_they_do_not_happen_are_known():
    known = [*METRICS.values(), *JUDGED.values()]
    lower = {metric.name for metric in known if metric.kind == "proportion" and metric.direction == "lower"}
    assert lower == LOWER_IS_BETTER


def test_a_word_that_no_gate_has_is_named_where_the_kind_is_missing():
    with pytest.raises(UsageError, match=r"has none of them; minimum: unknown key, did you mean 'min'\?"):
        parse_gates([{"metric": "correct", "minimum": 0.1}])

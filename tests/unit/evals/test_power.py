"""A gate that its dataset can never decide is refused when it is written, with what it would take."""

import pytest

from shipway.core.errors import UsageError
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import check_gates
from shipway.evals.metrics import METRICS
from shipway.evals.power import power_row
from shipway.evals.sample import judged_cases


def refusal(run, *entries, **options):
    with pytest.raises(UsageError) as caught:
        check_gates(parse_gates(entries), run.dataset, **options)
    return f"{caught.value.message} | {caught.value.hint}"


def accepted(run, *entries, **options):
    check_gates(parse_gates(entries), run.dataset, **options)
    return True


def test_a_minimum_that_n_right_answers_cannot_prove_is_refused(run_of):
    assert refusal(run_of([1.0] * 28), {"metric": "correct", "min": 0.9}) == (
        "gate 'correct >= 0.9': 28 cases, all of them right, show at least 0.898, which is not 0.9: it can never pass"
        " | 0.9 takes 29 cases; add cases, or set a limit that these can prove."
    )
    assert accepted(run_of([1.0] * 28), {"metric": "correct", "min": 0.898})
    assert accepted(run_of([1.0] * 29), {"metric": "correct", "min": 0.9})


def test_a_maximum_that_no_wrong_answer_cannot_prove_is_refused(run_of):
    assert refusal(run_of([0.0] * 20), {"metric": "wrong_refusal", "max": 0.1}) == (
        "gate 'wrong_refusal <= 0.1': 20 cases, none of them wrong, show at most 0.140, which is not 0.1: it can never"
        " pass | 0.1 takes 29 cases; add cases, or set a limit that these can prove."
    )
    assert accepted(run_of([0.0] * 20), {"metric": "wrong_refusal", "max": 0.14})


@pytest.mark.parametrize("entry", [{"metric": "correct", "min": 1.0}, {"metric": "wrong_refusal", "max": 0.0}], ids=str)
def test_perfection_is_proven_by_no_number_of_cases(run_of, entry):
    found = refusal(run_of([1.0] * 500), entry)
    assert "no number of cases proves" in found
    assert f"Write `{{metric: {entry['metric']}, zero_tolerance: true}}`" in found


def test_a_bounded_mean_is_no_surer_than_a_proportion(run_of):
    assert "29 cases" in refusal(run_of([1.0] * 5), {"metric": "recall_at_5", "min": 0.9})


def test_a_metric_without_a_scale_has_a_limit_that_any_dataset_may_show(run_of):
    assert accepted(run_of([1.0]), {"metric": "latency_ms", "max": 5})


def test_a_quantile_beyond_what_the_cases_can_show_is_refused(run_of):
    found = refusal(run_of([1.0] * 100), {"metric": "latency_ms", "max": 5000, "quantile": 0.99})
    assert "100 cases, all within the limit, show a share of 0.970, which is not 0.99" in found
    assert "0.99 takes 299 cases" in found
    assert accepted(run_of([1.0] * 100), {"metric": "latency_ms", "max": 5000, "quantile": 0.97})
    assert accepted(run_of([1.0] * 100), {"metric": "recall_at_5", "min": 0.5, "quantile": 0.1})
    assert "show a share of 0.970" in refusal(run_of([1.0] * 100), {"metric": "mrr", "min": 0.5, "quantile": 0.01})


def test_a_cluster_robust_threshold_counts_clusters(run_of):
    run = run_of([1.0] * 60, per_cluster=10)
    entry = {"metric": "correct", "min": 0.9}
    assert accepted(run, entry)
    found = refusal(run, {**entry, "cluster_robust": True})
    assert "60 cases in 6 clusters, all of them right, show at least 0.606" in found
    assert "0.9 takes 29 clusters" in found


def test_a_rate_that_clean_cases_cannot_exclude_is_refused(run_of):
    entry = {"metric": "tenant_leak", "zero_tolerance": True}
    assert refusal(run_of([0.0] * 95), {**entry, "max_rate": 0.01}) == (
        "gate 'tenant_leak never': 95 clean cases show a rate below 0.032, which is not 0.01: it can never pass"
        " | max_rate 0.01 takes 299 cases; add cases, raise max_rate, or leave it out."
    )
    assert accepted(run_of([0.0] * 95), {**entry, "max_rate": 0.032})
    assert accepted(run_of([0.0] * 2), entry)


def test_a_drop_that_the_cases_cannot_see_is_refused_with_the_cases_it_takes(run_of):
    assert refusal(run_of([1.0] * 80), {"metric": "correct", "non_regression": 0.02}) == (
        "gate 'correct does not regress': 80 cases cannot see a drop of 0.02; it can see 0.089 | It takes about 1583"
        " cases in 1583 clusters. Write `non_regression: auto`, a larger drop, or add cases from other documents."
    )
    assert accepted(run_of([1.0] * 1583), {"metric": "correct", "non_regression": 0.02})


@pytest.mark.parametrize(("clusters", "fine"), [(10, False), (11, True)])
def test_an_automatic_drop_that_would_hide_a_quarter_of_the_answers_is_refused(run_of, clusters, fine):
    run, entry = run_of([1.0] * 2 * clusters, per_cluster=2), {"metric": "correct", "non_regression": "auto"}
    if fine:
        assert accepted(run, entry)
        return
    found = refusal(run, entry)
    assert "20 cases cannot see a drop of 0.25; it can see 0.259" in found
    assert (
        "takes about 22 cases in 11 clusters. Add cases from other documents, or judge correct by `min` alone" in found
    )


def test_a_relative_drop_of_a_score_is_at_most_that_absolute_drop(run_of):
    entry = {"metric": "correct", "non_regression": 0.05, "mode": "relative"}
    assert "cannot see a relative drop of 0.05" in refusal(run_of([1.0] * 80), entry)
    assert accepted(run_of([1.0] * 80), {**entry, "non_regression": 0.1})


def test_the_variance_of_earlier_evaluations_is_shown_and_decides_nothing(run_of):
    cases = run_of([1.0] * 80).dataset.cases
    for entry in ({"metric": "correct", "non_regression": 0.05}, {"metric": "correct", "non_regression": "auto"}):
        (spec,) = parse_gates([entry])
        rows = [power_row(spec, METRICS["correct"], cases, sd=sd) for sd in (None, {"correct": 0.1}, {"correct": 0.6})]
        assert {(row.sees, row.mde, row.refused) for row in rows} == {(rows[0].sees, rows[0].mde, rows[0].refused)}
        assert [row.basis for row in rows] == [
            "assumed sd 0.32",
            "assumed sd 0.32; earlier evaluations: 0.1, which shows 0.0368",
            "assumed sd 0.32; earlier evaluations: 0.6, which shows 0.167",
        ]
    assert accepted(run_of([1.0] * 80), {"metric": "latency_ms", "non_regression": 20})


def test_every_look_costs_sight(run_of):
    entry = {"metric": "correct", "non_regression": 0.09}
    assert accepted(run_of([1.0] * 80), entry)
    assert "can see 0.106" in refusal(run_of([1.0] * 80), entry, looks=3)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"metric": "correct", "min": 0.1, "tags": ["pdf"]}, "no case has the tags pdf and can be judged by correct"),
        ({"metric": "refused", "min": 0.1}, "no case can be judged by refused, so it never has data"),
        ({"metric": "refused", "non_regression": "auto"}, "no case can be judged by refused"),
        ({"metric": "assertions", "zero_tolerance": True}, "no case can be judged by assertions"),
    ],
    ids=str,
)
def test_a_gate_for_which_there_is_no_case_is_refused(run_of, entry, said):
    assert said in refusal(run_of([1.0] * 50), entry)


def test_non_regression_gates_share_one_alpha(run_of):
    gates = [
        {"metric": "correct", "non_regression": "auto", "alpha": 0.05},
        {"metric": "mrr", "non_regression": "auto", "alpha": 0.01},
        {"metric": "correct", "min": 0.1, "alpha": 0.2},
    ]
    assert "alpha 0.01, but 'correct does not regress' has 0.05" in refusal(run_of([1.0] * 80), *gates)
    assert accepted(run_of([1.0] * 80), gates[0], gates[2])


def test_the_table_says_what_each_gate_sees_and_which_is_refused(run_of):
    run = run_of([1.0] * 40, per_cluster=2)
    rows = [
        power_row(spec, METRICS[spec.metric], judged_cases(run.dataset, METRICS[spec.metric], spec.tags), sd=sd)
        for sd in (None, {"latency_ms": 50.0})
        for spec in parse_gates(
            [
                {"metric": "correct", "min": 0.5},
                {"metric": "wrong_refusal", "max": 0.2},
                {"metric": "tenant_leak", "zero_tolerance": True, "max_rate": 0.01},
                {"metric": "correct", "non_regression": "auto"},
                {"metric": "latency_ms", "non_regression": 25},
                {"metric": "refused", "min": 0.5},
            ]
        )
    ]
    assert [row.sees for row in rows[:6]] == [
        "a share of up to 0.928",
        "a rate above 0.072",
        "a rate above 0.072",
        "a drop of 0.139",
        "what its variance allows",
        "nothing",
    ]
    assert [bool(row.refused) for row in rows[:6]] == [False, False, True, False, False, True]
    assert (rows[3].n, rows[3].n_clusters, rows[3].mde) == (40, 20, pytest.approx(0.139, abs=1e-3))
    assert rows[3].basis == "assumed sd 0.32"
    assert rows[4].basis == "no earlier evaluations: judged after the run"
    assert (rows[10].sees, rows[10].basis) == (
        "a drop of 20.6",
        "sd 50 of earlier evaluations: judged after the run",
    )

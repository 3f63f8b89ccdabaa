"""Ranking metrics, held against trec_eval's own implementation."""

import math

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.stats.retrieval import (
    average_precision,
    context_precision,
    hit_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)

DOCUMENTS = [f"d{i}" for i in range(15)]
RANKINGS = st.lists(st.sampled_from(DOCUMENTS), max_size=25)
RELEVANT = st.sets(st.sampled_from([*DOCUMENTS, "missing"]), min_size=1, max_size=8)
CUT_OFFS = st.integers(1, 20)


def reference(ranked, relevant, k):
    """Return trec_eval's figures of a ranking, of which it wants each document once, with a falling score."""
    measures = {f"recall.{k}", f"P.{k}", f"ndcg_cut.{k}", f"success.{k}", "map", "recip_rank"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": dict.fromkeys(relevant, 1)}, measures)
    once = list(dict.fromkeys(ranked))
    # Of nothing retrieved it says nothing; an irrelevant document alone is worth the same.
    run = {document: float(len(once) - place) for place, document in enumerate(once)} or {"irrelevant": 1.0}
    return evaluator.evaluate({"q": run})["q"]


@settings(max_examples=300)
@given(RANKINGS, RELEVANT, CUT_OFFS)
def test_every_metric_agrees_with_trec_eval(ranked, relevant, k):
    expected = reference(ranked, relevant, k)
    assert recall_at_k(ranked, relevant, k) == pytest.approx(expected[f"recall_{k}"])
    assert precision_at_k(ranked, relevant, k) == pytest.approx(expected[f"P_{k}"])
    assert ndcg_at_k(ranked, relevant, k) == pytest.approx(expected[f"ndcg_cut_{k}"])
    assert hit_at_k(ranked, relevant, k) == expected[f"success_{k}"]
    assert average_precision(ranked, relevant) == pytest.approx(expected["map"])
    assert reciprocal_rank(ranked, relevant) == pytest.approx(expected["recip_rank"])


def test_values_worked_by_hand():
    ranked, relevant = ["a", "x", "b", "y"], {"a", "b", "c"}
    assert recall_at_k(ranked, relevant, 3) == pytest.approx(2 / 3)
    assert precision_at_k(ranked, relevant, 3) == pytest.approx(2 / 3)
    assert average_precision(ranked, relevant) == pytest.approx((1 + 2 / 3) / 3)
    assert context_precision(ranked, relevant) == pytest.approx((1 + 2 / 3) / 2)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert ndcg_at_k(ranked, relevant, 3) == pytest.approx((1 + 1 / 2) / ideal)
    assert reciprocal_rank(["x", "a"], relevant) == 0.5


@given(st.lists(st.sampled_from(DOCUMENTS), max_size=25), RELEVANT, CUT_OFFS)
def test_a_repeated_document_counts_once_at_its_first_place(ranked, relevant, k):
    once = list(dict.fromkeys(ranked))
    assert recall_at_k(ranked, relevant, k) == recall_at_k(once, relevant, k)
    assert precision_at_k(ranked, relevant, k) == precision_at_k(once, relevant, k)
    assert ndcg_at_k(ranked, relevant, k) == ndcg_at_k(once, relevant, k)
    assert average_precision(ranked, relevant) == average_precision(once, relevant)
    assert context_precision(ranked, relevant, k) == context_precision(once, relevant, k)


@given(st.lists(st.sampled_from(DOCUMENTS), max_size=25), RELEVANT, CUT_OFFS)
def test_all_metrics_stay_between_zero_and_one(ranked, relevant, k):
    scores = [
        recall_at_k(ranked, relevant, k),
        precision_at_k(ranked, relevant, k),
        ndcg_at_k(ranked, relevant, k),
        average_precision(ranked, relevant),
        context_precision(ranked, relevant, k),
        reciprocal_rank(ranked, relevant),
    ]
    assert all(0.0 <= score <= 1.0 + 1e-12 for score in scores)


def test_nothing_retrieved_scores_zero_everywhere():
    assert recall_at_k([], {"a"}, 3) == precision_at_k([], {"a"}, 3) == ndcg_at_k([], {"a"}, 3) == 0.0
    assert average_precision([], {"a"}) == context_precision([], {"a"}) == reciprocal_rank([], {"a"}) == 0.0


def test_context_precision_sees_order_but_not_what_is_missing():
    assert context_precision(["a", "x"], {"a", "b", "c"}) == 1.0
    assert context_precision(["x", "a"], {"a", "b", "c"}) == 0.5
    assert context_precision(["x", "a"], {"a"}, k=1) == 0.0


def test_relevant_documents_listed_twice_count_once():
    assert recall_at_k(["a"], ["a", "a"], 1) == 1.0
    assert ndcg_at_k(["a"], ["a", "a"], 2) == 1.0
    assert average_precision(["a"], ["a", "a"]) == 1.0


def test_a_case_without_relevant_documents_is_refused_instead_of_scored():
    with pytest.raises(ValueError, match="without relevant documents"):
        recall_at_k(["a"], set(), 3)
    with pytest.raises(ValueError, match="without relevant documents"):
        average_precision(["a"], set())


def test_a_cut_off_below_one_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ndcg_at_k(["a"], {"a"}, 0)

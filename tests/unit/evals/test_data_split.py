"""Dividing a dataset keeps clusters whole and shares fair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.data_split import split
from shipway.evals.model import Case, Dataset

CASES = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.booleans()), min_size=12, max_size=60).map(
    lambda found: [Case(f"c{i}", "q", cluster=name, unanswerable=no) for i, (name, no) in enumerate(found)]
)


def of(size, clusters, declining=0):
    return Dataset(
        "d",
        tuple(
            Case(f"c{i}", "q", cluster=f"k{i % clusters}", unanswerable=i % clusters < declining) for i in range(size)
        ),
    )


def judged(dataset):
    return {case.id for case in dataset.cases if case.split == "test"}


def test_about_the_share_judges_in_both_strata():
    found = split(of(200, 40, declining=10), 0.3, seed=1)
    test = [case for case in found.cases if case.split == "test"]
    assert (len(test), sum(case.unanswerable for case in test)) == (60, 15)


def test_the_seed_decides():
    dataset = of(200, 40)
    assert judged(split(dataset, 0.3, seed=1)) == judged(split(dataset, 0.3, seed=1))
    assert judged(split(dataset, 0.3, seed=1)) != judged(split(dataset, 0.3, seed=2))


@pytest.mark.parametrize("seed", range(5))
def test_clusters_that_are_added_move_few_of_the_others(seed):
    small = of(200, 40)
    large = Dataset("d", small.cases + tuple(Case(f"n{i}", "q", cluster=f"new{i % 4}") for i in range(20)))
    before, after = (
        {case.cluster for case in found.cases if case.id in judged(found)}
        for found in (split(small, 0.3, seed), split(large, 0.3, seed))
    )
    assert len([name for name in before ^ after if not name.startswith("new")]) <= 2


@given(CASES, st.floats(0.1, 0.9), st.integers(0, 5))
def test_a_cluster_is_never_cut_and_no_case_is_lost(cases, share, seed):
    try:
        found = split(Dataset("d", tuple(cases)), share, seed)
    except UsageError:
        return
    assert [case.id for case in found.cases] == [case.id for case in cases]
    assert {(case.cluster, case.split) for case in found.cases} == {
        (case.cluster, next(other.split for other in found.cases if other.cluster == case.cluster)) for case in cases
    }


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="must lie between 0 and 1"):
        split(of(20, 10), share, seed=1)


def test_one_cluster_cannot_be_divided():
    with pytest.raises(
        UsageError, match=r"1 clusters cannot be divided so that 30% judge: split 'test' would be empty"
    ):
        split(of(20, 1), 0.3, seed=1)

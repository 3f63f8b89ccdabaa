import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.canonical import digest_json
from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.evals.model import Binding, Case, Dataset, RunReport

CASES = tuple(Case(id=f"c{i}", question=f"Question {i}?", expected_sources=(f"doc{i % 3}",)) for i in range(8))


@given(st.permutations(CASES), st.text())
def test_the_digest_depends_on_neither_order_nor_name(cases, name):
    assert Dataset(name, tuple(cases)).digest == Dataset("faq", CASES).digest


def test_the_digest_changes_with_any_field_of_any_case():
    changed = (*CASES[:-1], Case(id="c7", question="Question 7?", expected_sources=("doc1",), tags=("new",)))
    assert Dataset("faq", changed).digest != Dataset("faq", CASES).digest


def test_a_field_that_came_later_changes_a_digest_only_where_it_is_used():
    old, new = Case(id="a", question="?"), {"context", "messages", "variables", "metadata"}
    used = Case(id="a", question="?", context=("p",), messages=({},), variables={"n": 1}, metadata={"origin": "x"})

    assert old.to_dict().keys() & new == set()
    assert used.to_dict().keys() == old.to_dict().keys() | new
    assert Dataset("faq", (old,)).digest == "sha256:828e01888e692e661589631ef7324f80fa18d623b56fcaa536d03f4143d8cb95"
    assert Dataset("faq", (used,)).digest != Dataset("faq", (old,)).digest


def test_cases_cluster_by_their_own_word_then_their_first_source_then_alone():
    assert Case(id="a", question="?", cluster="x", expected_sources=("d",)).cluster_name == "x"
    assert Case(id="a", question="?", expected_sources=("e", "d")).cluster_name == "d"
    assert Case(id="a", question="?").cluster_name == "a"


def test_a_split_holds_only_its_own_cases():
    dataset = Dataset("faq", (Case(id="a", question="?", split="calibration"), Case(id="b", question="?")))
    assert [case.id for case in dataset.only("test").cases] == ["b"]
    assert [case.id for case in dataset.only("calibration").cases] == ["a"]


def test_a_run_bound_to_another_dataset_is_refused():
    other = Digest("sha256:0")
    with pytest.raises(UsageError, match="bound to dataset sha256:0"):
        RunReport("stable", "rel_1", Dataset("faq", CASES), 1, (), Binding(other, other, other, other))


def test_a_run_without_repeats_is_refused():
    dataset, any_digest = Dataset("faq", CASES), Digest("sha256:0")
    with pytest.raises(UsageError, match="repeats must be at least 1, got 0"):
        RunReport("stable", "rel_1", dataset, 0, (), Binding(dataset.digest, any_digest, any_digest, any_digest))


def test_a_digest_is_that_of_the_whole_list_of_cases_by_id():
    for cases in (
        (),
        (Case(id="b", question="é?"),),
        (Case(id="b", question="x"), Case(id="a", question="y", tags=("t",))),
    ):
        by_id = sorted(cases, key=lambda case: case.id)
        assert Dataset("d", tuple(cases)).digest == digest_json([case.to_dict() for case in by_id])


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_a_part_is_whole_clusters_the_same_each_time_and_grows_with_its_share(one, other):
    cases = tuple(Case(id=f"c{n}", question="?", cluster=f"k{n % 40}" if n % 3 else "") for n in range(200))
    low, high = sorted((one, other))
    dataset = Dataset("faq", cases)

    small, large = dataset.part((), low), dataset.part((), high)

    assert small.cases == Dataset("again", cases).part((), low).cases
    assert set(small.cases) <= set(large.cases)
    assert small.cases
    clusters = {case.cluster for case in small.cases if case.cluster}
    assert {case for case in cases if case.cluster in clusters} <= set(small.cases)
    assert dataset.part((), 1.0).cases == cases


def test_a_share_of_many_cases_is_about_that_share():
    dataset = Dataset("faq", tuple(Case(id=f"c{n}", question="?") for n in range(20_000)))
    assert 140 < len(dataset.part((), 0.01).cases) < 260


def test_a_part_by_tags_has_the_cases_with_any_of_them():
    cases = tuple(Case(id=f"c{n}", question="?", tags=("a",) if n % 2 else ("b", "c")) for n in range(6))
    assert [case.id for case in Dataset("faq", cases).part(("c", "x"), 1.0).cases] == ["c0", "c2", "c4"]
    assert Dataset("faq", cases).part(("x",), 1.0).cases == ()

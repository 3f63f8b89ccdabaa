"""What changed between two versions of a dataset."""

from dataclasses import replace

from shipway.evals.data_diff import diff
from shipway.evals.model import Case, Dataset

CASES = tuple(Case(f"c{i}", f"Question {i}?", tags=("a",)) for i in range(4))


def test_added_removed_changed_and_renamed_cases_are_told_apart():
    after = (
        CASES[0],
        replace(CASES[1], question="Another?", reference="x"),
        replace(CASES[2], id="renamed"),
        Case("new", "New?"),
    )
    found = diff(Dataset("d", CASES), Dataset("d", after))
    assert (found.added, found.removed) == (("new",), ("c3",))
    assert found.changed == {"c1": ("question", "reference")}
    assert found.renamed == {"c2": "renamed"}
    assert found.unchanged == 1
    assert not found.same


def test_order_and_file_are_no_difference():
    found = diff(Dataset("a", CASES), Dataset("b", CASES[::-1]))
    assert found.same
    assert (found.added, found.removed, found.changed, found.unchanged) == ((), (), {}, 4)


def test_of_equal_cases_each_is_renamed_once():
    before = Dataset("d", (Case("a", "q"), Case("b", "q")))
    found = diff(before, Dataset("d", (Case("x", "q"), Case("y", "q"), Case("z", "q"))))
    assert len(found.renamed) + len(found.removed) == 2
    assert len(found.renamed) + len(found.added) == 3

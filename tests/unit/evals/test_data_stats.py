"""What a dataset consists of."""

from shipway.evals.data_languages import UNSURE, load_language_of
from shipway.evals.data_stats import Spread, stats
from shipway.evals.model import Case, Dataset

CASES = (
    Case("a", "How many days do I have to return it?", reference="45 days", tags=("single", "numeric"), tenant="t"),
    Case("b", "Wie viele Tage habe ich für die Rückgabe?", must_contain=("45",), tags=("single",), cluster="k"),
    Case("c", "Why?", unanswerable=True, split="calibration", cluster="k", assertions=({"type": "refusal"},)),
)


def test_the_numbers_of_a_dataset():
    found = stats(Dataset("d", CASES), load_language_of())
    assert (found.cases, found.unanswerable) == (3, 1)
    assert found.splits == {"test": 2, "calibration": 1}
    assert found.clusters == {"test": 2, "calibration": 1}
    assert (found.largest_cluster, found.cases_per_cluster) == ("k", Spread(1, 1.5, 2, 2))
    assert found.tags == {"single": 2, "numeric": 1}
    assert found.tenants == {"t": 1}
    assert found.assertions == {"refusal": 1}
    assert found.expectations["must_contain"] == 1
    assert found.question_words == Spread(1, 8.0, 9, 9)
    assert found.reference_words == Spread(2, 2.0, 2, 2)
    assert found.languages == {UNSURE: 1, "de": 1, "en": 1}


def test_a_dataset_without_references_has_no_lengths_of_them():
    assert stats(Dataset("d", (Case("a", "q"),)), lambda _: "en").reference_words is None

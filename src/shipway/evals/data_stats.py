"""What a dataset consists of, in numbers; `shipway dataset stats` shows it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shipway.core.ids import Digest
from shipway.evals.data_words import asked, words
from shipway.evals.model import Dataset


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, middle, 95th percentile (nearest rank) and most."""

    least: int
    median: float
    p95: int
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Return the spread of at least one value."""
        middle = float(np.median(values))
        return cls(min(values), middle, int(np.quantile(values, 0.95, method="inverted_cdf")), max(values))


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """Counts of cases by what they are; `question_words` and `reference_words` are counts of words."""

    digest: Digest
    cases: int
    splits: Mapping[str, int]
    unanswerable: int
    clusters: Mapping[str, int]
    """By split, how many clusters."""
    cases_per_cluster: Spread
    largest_cluster: str
    tags: Mapping[str, int]
    tenants: Mapping[str, int]
    expectations: Mapping[str, int]
    """By field that says what a right answer is."""
    assertions: Mapping[str, int]
    question_words: Spread
    reference_words: Spread | None
    languages: Mapping[str, int]


def stats(dataset: Dataset, language_of: Callable[[str], str]) -> DatasetStats:
    """Return the numbers of a dataset of at least one case; counts are by size, then by name."""
    cases = dataset.cases
    clusters = Counter(case.cluster_name for case in cases)
    references = [len(words(case.reference)) for case in cases if case.reference]
    expectations = {
        "reference": sum(bool(case.reference) for case in cases),
        "must_contain": sum(bool(case.must_contain) for case in cases),
        "must_not_contain": sum(bool(case.must_not_contain) for case in cases),
        "expected_sources": sum(bool(case.expected_sources) for case in cases),
        "assert": sum(bool(case.assertions) for case in cases),
        "context": sum(bool(case.context) for case in cases),
    }
    return DatasetStats(
        digest=dataset.digest,
        cases=len(cases),
        splits=_counted(case.split for case in cases),
        unanswerable=sum(case.unanswerable for case in cases),
        clusters=_counted(split for split, _ in {(case.split, case.cluster_name) for case in cases}),
        cases_per_cluster=Spread.of(list(clusters.values())),
        largest_cluster=min(clusters, key=lambda name: (-clusters[name], name)),
        tags=_counted(tag for case in cases for tag in case.tags),
        tenants=_counted(case.tenant for case in cases if case.tenant),
        expectations=expectations,
        assertions=_counted(str(item["type"]) for case in cases for item in case.assertions),
        question_words=Spread.of([len(words(asked(case))) for case in cases]),
        reference_words=Spread.of(references) if references else None,
        languages=_counted(language_of(asked(case)) for case in cases),
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts = Counter(names)
    return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}

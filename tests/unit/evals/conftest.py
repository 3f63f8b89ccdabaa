"""A builder of scored runs for the tests of gates and reports."""

import pytest

from shipway.core.canonical import digest_json
from shipway.evals.baseline import bind
from shipway.evals.model import Case, CaseResult, Dataset, Output, RunReport


def build_run(scores, *, metric="correct", per_cluster=1, corpus="corpus", outputs=None, tags=()):
    """Return a run whose i-th case has the i-th score: a number, a list (repeats), None (n/a) or a text (an error)."""
    rows = [score if isinstance(score, list) else [score] for score in scores]
    cases = tuple(
        Case(
            id=f"c{i:04d}",
            question=f"Question {i}?",
            must_contain=("x",),
            expected_sources=(f"doc{i // per_cluster}",),
            tags=tuple(tags[i % len(tags)]) if tags else (),
        )
        for i in range(len(rows))
    )
    results = tuple(
        CaseResult(
            case.id,
            repeat,
            {} if isinstance(value, str) else {metric: value},
            {metric: value} if isinstance(value, str) else {},
            outputs[i] if outputs else Output(answer=f"answer {value}"),
        )
        for i, (case, row) in enumerate(zip(cases, rows, strict=True))
        for repeat, value in enumerate(row)
    )
    dataset = Dataset("d", cases)
    repeats = max((len(row) for row in rows), default=1)
    return RunReport("target", "rel", dataset, repeats, results, bind(dataset, corpus=digest_json(corpus)))


@pytest.fixture(scope="session")
def run_of():
    return build_run

"""What a run of the helpdesk scored before metrics were added is what it scores now."""

from pathlib import Path

import pytest

from shipway.core.canonical import digest_json
from shipway.core.record import ABSTAINED, UNSUPPORTED
from shipway.evals.dataset import parse_dataset
from shipway.evals.metrics import METRICS, DocumentAccess, MetricContext
from shipway.evals.model import Attempt, Output
from shipway.evals.scoring import score_attempts

CASES = Path(__file__).parents[3] / "examples/helpdesk/evals/cases.jsonl"
FIRST = (
    *("correct", "assertions", "supported", "recall_at_5", "mrr", "ndcg_at_5", "context_precision", "refused"),
    *("wrong_refusal", "citation_resolves", "citation_correct", "tenant_leak", "latency_ms", "cost_usd"),
)
"""The metrics that stored runs of the helpdesk hold."""


@pytest.fixture(scope="module")
def dataset():
    return parse_dataset(CASES.read_bytes(), str(CASES))


def outputs_of(case, other):
    """Return five kinds of answers: right, declined, of another case, empty, and a failed call."""
    sources = case.expected_sources
    reference = case.reference or "Thirty days, EUR 5."
    return (
        Output(answer=reference, model_text=reference, citations=sources, retrieved=sources, latency_ms=12.5),
        Output(answer="I don't know. Please ask our staff.", events=(ABSTAINED,), retrieved=("x.md", *sources)),
        Output(
            answer=f"{reference} {other.reference} {' '.join(other.must_not_contain)}",
            model_text="Something else.",
            citations=(*sources, *other.expected_sources),
            retrieved=(*other.expected_sources, *sources),
            events=(UNSUPPORTED,),
            cost_usd=0.001,
        ),
        Output(),
        Output(error="timeout"),
    )


def test_scores_of_the_helpdesk_are_what_they_were(dataset):
    cases = dataset.cases
    attempts = [
        Attempt(case.id, repeat, output)
        for case, other in zip(cases, (*cases[1:], cases[0]), strict=True)
        for repeat, output in enumerate(outputs_of(case, other))
    ]
    names = {source for case in cases for source in case.expected_sources} | {"x.md"}
    access = {name: DocumentAccess(name.partition("/")[0], frozenset({"public"})) for name in names}
    metrics = {name: METRICS[name] for name in FIRST}

    results = score_attempts(attempts, dataset, MetricContext(access=access), metrics)
    found = [
        [result.case_id, result.repeat, {name: result.scores.get(name, "missing") for name in FIRST}]
        for result in results
    ]

    assert len(found) == 5 * len(cases) > 500
    assert digest_json(found) == "sha256:e9655bc79623d010cb4ae2e3c16cd7ee82fc9310a944c46815c7590c9328e6ed"


def test_the_digest_of_the_helpdesk_is_what_it_was(dataset):
    assert dataset.digest == "sha256:ac48a6991927514ba65a316ea913ca8a2770bd843a85e94ec27ef4861aa4a341"

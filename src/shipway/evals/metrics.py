"""The metrics that gates and reports know, as plain functions over a case and an output.

A metric returns None when there is nothing to judge: "not applicable" is never 1 and never 0. What applies but cannot
be computed raises, and becomes a missing score that gates count. Called by `scoring`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED, UNSUPPORTED
from shipway.evals.assertions import assertions_of, holds, is_refusal, share_held
from shipway.evals.judgement import Task
from shipway.evals.metric_context import DocumentAccess, MetricContext
from shipway.evals.model import Case, CaseResult, Output, Term
from shipway.evals.text import contains
from shipway.stats import retrieval

__all__ = ["METRICS", "DocumentAccess", "Metric", "MetricContext"]

RANKS = 5


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and what gates must know of it.

    `kind` is `proportion` when scores are 0 or 1. `bounded` scores lie in [0, 1]. `source` names what is judged. A case
    for which `applies` is false has no score whatever the target does; `compute` may still return None.

    `task` is what a judge must be asked. A metric with `over_repeats` is computed from all results of a case, once
    those of `needs` are there; `scoring.score_repeats` does that and `compute` is not called.
    """

    name: str
    compute: Callable[[Case, Output, MetricContext], float | None]
    applies: Callable[[Case], bool]
    direction: Literal["higher", "lower"]
    kind: Literal["proportion", "mean"]
    source: Literal["answer", "model_text", "retrieved", "citations", "measurement"]
    bounded: bool = True
    task: Task | None = None
    over_repeats: Callable[[Case, Sequence[CaseResult]], float | None] | None = None
    needs: tuple[str, ...] = ()

    @property
    def sign(self) -> int:
        """+1 when more is better, -1 when less is."""
        return 1 if self.direction == "higher" else -1


def correct(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when the final answer holds every `must_contain` term and no `must_not_contain` one, else 0.

    A refused or empty answer to an answerable question is 0. Not applicable: unanswerable cases, and cases that name
    no term at all.
    """
    if not _has_terms(case):
        return None
    # "I do not know the exact day, but within 30 days" holds what it must: words alone decide only where no term can.
    declined = ABSTAINED in output.events if case.must_contain else is_refusal(output)
    if declined or not output.answer.strip():
        return 0.0
    found = all(_occurs(output.answer, term) for term in case.must_contain)
    return float(found and not any(contains(output.answer, term) for term in case.must_not_contain))


def assertions(case: Case, output: Output, context: MetricContext) -> float | None:
    """Score 1 when every entry of the case's `assert` list holds, else 0. Not applicable: no entry."""
    if not case.assertions:
        return None
    return float(all(holds(assertion, case, output, context) for assertion in assertions_of(case, context)))


def assertion_score(case: Case, output: Output, context: MetricContext) -> float | None:
    """Score the share of the case's `assert` list that holds, by weight. Not applicable: no entry."""
    return share_held(assertions_of(case, context), case, output, context) if case.assertions else None


def supported(_case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when the model's own words, before any repair, were supported by the passages, 0 when they were not.

    Read from the `unsupported` event. Not applicable: nothing was generated, or the target abstained.
    """
    if not (output.model_text or "").strip() or ABSTAINED in output.events:
        return None
    return float(UNSUPPORTED not in output.events)


def recall_at_5(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the share of the expected sources among the first 5 retrieved documents; 0 when none was retrieved."""
    return retrieval.recall_at_k(output.retrieved, case.expected_sources, RANKS) if case.expected_sources else None


def mrr(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 / rank of the first expected source, 0 when it was not retrieved."""
    return retrieval.reciprocal_rank(output.retrieved, case.expected_sources) if case.expected_sources else None


def ndcg_at_5(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score NDCG over the first 5 retrieved documents, binary relevance."""
    return retrieval.ndcg_at_k(output.retrieved, case.expected_sources, RANKS) if case.expected_sources else None


def average_precision(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the mean over the expected sources of the precision at their rank; those not retrieved add 0."""
    return retrieval.average_precision(output.retrieved, case.expected_sources) if case.expected_sources else None


def context_precision(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the mean precision at each expected source that was retrieved; 0 when none was."""
    return retrieval.context_precision(output.retrieved, case.expected_sources) if case.expected_sources else None


def refused(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when an unanswerable question was declined, else 0. Not applicable: answerable cases."""
    return float(is_refusal(output)) if case.unanswerable else None


def wrong_refusal(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when an answerable question was declined, else 0; lower is better. Not applicable: unanswerable cases."""
    return None if case.unanswerable else float(is_refusal(output))


def citation_resolves(_case: Case, output: Output, context: MetricContext) -> float | None:
    """Score 1 when every citation is a retrieved document, and one of the corpus where its table is given, else 0.

    Not applicable: nothing is cited.
    """
    if not output.citations:
        return None
    cited = set(output.citations)
    return float(cited <= set(output.retrieved) and (context.access is None or cited <= context.access.keys()))


def citation_correct(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the share of cited documents that are expected sources: |cited ∩ expected| / |cited|.

    An answer that cites nothing is 0: it claims something and names no source. Not applicable: no expected sources, or
    the target declined.
    """
    if not case.expected_sources or is_refusal(output):
        return None
    cited = set(output.citations)
    return len(cited & set(case.expected_sources)) / len(cited) if cited else 0.0


def citation_precision(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score |cited ∩ expected| / |cited|. Not applicable: no expected sources, declined, or nothing is cited."""
    if not case.expected_sources or not output.citations or is_refusal(output):
        return None
    cited = set(output.citations)
    return len(cited & set(case.expected_sources)) / len(cited)


def citation_recall(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score |cited ∩ expected| / |expected|; 0 when nothing is cited. Not applicable: no expected sources, declined."""
    if not case.expected_sources or is_refusal(output):
        return None
    expected = set(case.expected_sources)
    return len(expected.intersection(output.citations)) / len(expected)


def abstention(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when the target declined an unanswerable question or did not decline an answerable one, else 0."""
    return float(is_refusal(output) is case.unanswerable)


def tenant_leak(case: Case, output: Output, context: MetricContext) -> float | None:
    """Score 1 when any retrieved or cited document is not the asker's to see, else 0; nothing retrieved is 0.

    Not applicable: no access table. A document that the table does not hold raises: it cannot be shown to be allowed.

    Raises:
        UsageError: a document that is not in the access table.
    """
    if context.access is None:
        return None
    documents = dict.fromkeys((*output.retrieved, *output.citations))
    unknown = [name for name in documents if name not in context.access]
    if any(not context.access[name].allows(case) for name in documents if name not in unknown):
        return 1.0
    if unknown:
        raise UsageError(f"document {unknown[0]!r} is not in the corpus's access table; rebuild the table")
    return 0.0


def latency_ms(_case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the time to the whole answer in milliseconds. Not applicable: nobody measured it, or it is from a cache."""
    return None if output.cached else output.latency_ms


def ttft_ms(_case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the time to the first token in milliseconds. Not applicable: as `latency_ms`."""
    return None if output.cached else output.ttft_ms


def cost_usd(_case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the price of the answer in US dollars. Not applicable: the target names no price, or it is from a cache."""
    return None if output.cached else output.cost_usd


def _occurs(answer: str, term: Term) -> bool:
    return contains(answer, term) if isinstance(term, str) else any(contains(answer, item) for item in term)


def _has_terms(case: Case) -> bool:
    return not case.unanswerable and bool(case.must_contain or case.must_not_contain)


def _always(_case: Case) -> bool:
    return True


def _has_sources(case: Case) -> bool:
    return bool(case.expected_sources)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("correct", correct, _has_terms, "higher", "proportion", "answer"),
            Metric("assertions", assertions, lambda case: bool(case.assertions), "higher", "proportion", "answer"),
            Metric("assertion_score", assertion_score, lambda case: bool(case.assertions), "higher", "mean", "answer"),
            Metric("supported", supported, _always, "higher", "proportion", "model_text"),
            Metric("recall_at_5", recall_at_5, _has_sources, "higher", "mean", "retrieved"),
            Metric("mrr", mrr, _has_sources, "higher", "mean", "retrieved"),
            Metric("ndcg_at_5", ndcg_at_5, _has_sources, "higher", "mean", "retrieved"),
            Metric("map", average_precision, _has_sources, "higher", "mean", "retrieved"),
            Metric("context_precision", context_precision, _has_sources, "higher", "mean", "retrieved"),
            Metric("refused", refused, lambda case: case.unanswerable, "higher", "proportion", "answer"),
            Metric("wrong_refusal", wrong_refusal, lambda case: not case.unanswerable, "lower", "proportion", "answer"),
            Metric("abstention", abstention, _always, "higher", "proportion", "answer"),
            Metric("citation_resolves", citation_resolves, _always, "higher", "proportion", "citations"),
            Metric("citation_correct", citation_correct, _has_sources, "higher", "mean", "citations"),
            Metric("citation_precision", citation_precision, _has_sources, "higher", "mean", "citations"),
            Metric("citation_recall", citation_recall, _has_sources, "higher", "mean", "citations"),
            Metric("tenant_leak", tenant_leak, _always, "lower", "proportion", "retrieved"),
            Metric("latency_ms", latency_ms, _always, "lower", "mean", "measurement", bounded=False),
            Metric("ttft_ms", ttft_ms, _always, "lower", "mean", "measurement", bounded=False),
            Metric("cost_usd", cost_usd, _always, "lower", "mean", "measurement", bounded=False),
        )
    }
)

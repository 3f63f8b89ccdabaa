"""Metrics of the words of an answer that need a judge's opinion, and one that needs the passages.

`metric_names` hands them out by name. Each says its source and what it does where there is nothing to judge; the
opinions come from `judging` through the context, and an opinion that could not be had is a missing score.
"""

from collections.abc import Mapping
from types import MappingProxyType

from shipway.core.errors import UsageError
from shipway.evals.assertion_checks import is_refusal, judgement_of
from shipway.evals.judgement import Claim, Judgement
from shipway.evals.metric_context import MetricContext
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, Output
from shipway.evals.text import contains

_WHOLE = 1.0


def faithfulness(_case: Case, output: Output, context: MetricContext) -> float | None:
    """Score supported / decided statements of the answer, judged against the passages the model was given.

    Statements of which the judge could not tell are in neither number. Not applicable: declined, empty, or an answer
    that states nothing. All of them undecided: missing.

    Source: Es et al. 2023, arXiv 2309.15217 (RAGAS), faithfulness; there, undecided statements count as unsupported.
    """
    if _claims_nothing(output):
        return None
    return _share(judgement_of("faithfulness", context))


def hallucination(_case: Case, output: Output, context: MetricContext) -> float | None:
    """Score 1 when any statement of the answer is not supported by the passages, else 0; the mean is a rate of answers.

    Not applicable and missing: as `faithfulness`, of whose judgement it is another reading.
    """
    if _claims_nothing(output):
        return None
    share = _share(judgement_of("faithfulness", context))
    return None if share is None else float(share < _WHOLE)


def answer_relevance(_case: Case, output: Output, context: MetricContext) -> float | None:
    """Score how far the answer is one to the question, from 0 to 1, whether it is true or not.

    A judge of kind `embedded` takes the cosine of question and answer, negative ones as 0. Not applicable: declined or
    empty; `wrong_refusal` is what judges that.

    Source: Es et al. 2023, arXiv 2309.15217 (RAGAS), answer relevance, which asks a model for questions that the answer
    would answer and is 0 for answers that commit to nothing.
    """
    return None if _claims_nothing(output) else judgement_of("relevance", context).score


def completeness(case: Case, _output: Output, context: MetricContext) -> float | None:
    """Score the share of the reference's statements that the answer makes: covered / decided.

    An answer that declines covers none. Not applicable: no reference, or an unanswerable case.

    Source: the recall half of Min et al. 2023, arXiv 2305.14251 (FActScore) with the reference as the source of facts.
    """
    return _share(judgement_of("completeness", context)) if _has_reference(case) else None


def citation_support(_case: Case, output: Output, context: MetricContext) -> float | None:
    """Score the share of the answer's statements that what it cites supports.

    Not applicable: declined, or nothing is cited; `citation_recall` is what judges that.

    Source: Gao et al. 2023, arXiv 2305.14627 (ALCE), citation recall.
    """
    if _claims_nothing(output) or not output.citations:
        return None
    return _share(judgement_of("citation", context))


def judged_abstention(_case: Case, _output: Output, context: MetricContext) -> float | None:
    """Score 1 when the target declined an unanswerable question or answered an answerable one, in the judge's eyes.

    For answers that decline in other words, or in another language, than `abstention` knows.
    """
    return judgement_of("abstention", context).score


def judged_rubric(_case: Case, _output: Output, context: MetricContext) -> float | None:
    """Score the judge's opinion by rubric, from 0 to 1: that of the case's `llm-rubric`, else the judge's own."""
    return judgement_of("rubric", context).score


def context_recall(case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score the share of the facts of a right answer (`must_contain`) that the passages given to the model hold.

    A term with alternatives is there when one of them is. Nothing retrieved is 0. Not applicable: cases without terms.

    Source: Es et al. 2023, arXiv 2309.15217 (RAGAS), context recall, with the case's terms as the statements of the
    reference, so that no judge is needed.

    Raises:
        UsageError: documents were retrieved, but the target reports no passages.
    """
    if not _has_facts(case):
        return None
    if not output.passages and output.retrieved:
        raise UsageError("the target reports documents and no passages; context_recall needs their text")
    found = sum(
        any(
            contains(passage, item)
            for item in ((term,) if isinstance(term, str) else term)
            for passage in output.passages
        )
        for term in case.must_contain
    )
    return found / len(case.must_contain)


def _share(judgement: Judgement) -> float | None:
    """Return the supported share of what could be decided, over all the judge's votes."""
    if judgement.score is None and judgement.claims:
        raise UsageError(f"the judge could decide none of {_counted(judgement.claims)}")
    return judgement.score


def _counted(claims: tuple[Claim, ...]) -> str:
    return "1 statement" if len(claims) == 1 else f"{len(claims)} statements"


def _claims_nothing(output: Output) -> bool:
    return not output.answer.strip() or is_refusal(output)


def _always(_case: Case) -> bool:
    return True


def _has_reference(case: Case) -> bool:
    return bool((case.reference or "").strip()) and not case.unanswerable


def _has_facts(case: Case) -> bool:
    return bool(case.must_contain) and not case.unanswerable


JUDGED: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("faithfulness", faithfulness, _always, "higher", "mean", "answer", task="faithfulness"),
            Metric("hallucination", hallucination, _always, "lower", "proportion", "answer", task="faithfulness"),
            Metric("answer_relevance", answer_relevance, _always, "higher", "mean", "answer", task="relevance"),
            Metric("completeness", completeness, _has_reference, "higher", "mean", "answer", task="completeness"),
            Metric("citation_support", citation_support, _always, "higher", "mean", "citations", task="citation"),
            Metric("judged_abstention", judged_abstention, _always, "higher", "mean", "answer", task="abstention"),
        )
    }
)
"""The metrics that need `evals.judge`."""
CONTEXT_RECALL = Metric("context_recall", context_recall, _has_facts, "higher", "mean", "retrieved")
RUBRIC = Metric("judge", judged_rubric, _always, "higher", "mean", "answer", task="rubric")
"""`metric_names` names it after its judge."""

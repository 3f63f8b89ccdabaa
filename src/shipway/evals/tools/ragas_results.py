"""Scores of RAGAS: what Shipway's driver writes, and a saved `EvaluationResult` (`to_pandas().to_json`, `.to_csv`).

RAGAS' own means leave out what failed; here a score that is NaN is an ERROR. Source: RAGAS 0.4.3.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shipway.core.errors import DocumentError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import (
    items,
    json_lines,
    json_value,
    mapping,
    no_results,
    other_version,
    short,
    slug,
    whole,
)
from shipway.evals.tools.scored import THRESHOLD, Place

TOOL = "ragas"
_SCHEMA = 1
_COLUMNS = frozenset({
    "user_input", "question", "response", "answer", "reference", "ground_truth", "ground_truths", "retrieved_contexts",
    "contexts", "reference_contexts", "rubrics", "id", "case_id", "repeat", "metadata", "multi_responses",
})  # fmt: skip
"""Columns of a saved result that are the sample; all others are scores."""
_LOWEST = {
    **dict.fromkeys(
        (
            "faithfulness", "faithfulness_with_hhem", "answer_correctness", "answer_accuracy", "nv_accuracy",
            "context_precision", "llm_context_precision_with_reference", "llm_context_precision_without_reference",
            "non_llm_context_precision_with_reference", "id_based_context_precision", "context_utilization",
            "context_recall", "non_llm_context_recall", "id_based_context_recall", "context_entity_recall",
            "context_relevance", "nv_context_relevance", "response_groundedness", "nv_response_groundedness",
            "noise_sensitivity", "factual_correctness", "bleu_score", "rouge_score", "chrf_score", "exact_match",
            "string_present", "non_llm_string_similarity", "tool_call_accuracy", "tool_call_f1", "agent_goal_accuracy",
            "topic_adherence", "summary_score",
        ),
        0.0,
    ),
    **dict.fromkeys(("answer_relevancy", "response_relevancy", "answer_similarity", "semantic_similarity"), -1.0),
}  # fmt: skip
"""RAGAS' own metrics, which end at 1, and where each begins; those that are cosines begin at -1."""


def parse(data: bytes, file: str = "ragas.json", *, threshold: float = THRESHOLD) -> FindingReport:
    """Return a finding for each case, repeat and metric.

    Rows of a saved result are cases by their `id`, else by their question; equal ones are repeats.

    Raises:
        DocumentError: the file holds no scores of RAGAS, is cut off, or is of another version.
    """
    if file.lower().endswith(".csv"):
        return _of_rows(_csv_rows(data, file), file, threshold)
    if file.lower().endswith(".jsonl"):
        return _of_rows(json_lines(data, file, TOOL), file, threshold)
    value = json_value(data, file, TOOL)
    if isinstance(value, list):
        return _of_rows([mapping(item) for item in value], file, threshold)
    if not isinstance(value, dict) or value.get("tool") != TOOL or not isinstance(value.get("rows"), list):
        raise no_results(file, TOOL, "rows of scores")
    if value.get("schema") != _SCHEMA:
        raise other_version(file, TOOL, value.get("schema"), f"schema {_SCHEMA}")
    findings = [item for row in items(value["rows"]) for item in _of_driver(mapping(row), threshold)]
    problems = () if value["rows"] else ("RAGAS judged no case",)
    return FindingReport(TOOL, short(value.get("version")), tuple(findings), problems)


def _of_driver(row: Mapping[str, Any], threshold: float) -> Iterator[Finding]:
    place = Place(TOOL, short(row.get("case")) or "unnamed", whole(row.get("repeat")) or 0, short(row.get("question")))
    for name, score in mapping(row.get("scores")).items():
        # None: the case lacks what the metric needs, such as a reference. It does not apply.
        if score is not None:
            yield _scored(place, slug(name), score, threshold)
    for name, reason in mapping(row.get("errors")).items():
        yield place.finding(Verdict.ERROR, slug(name), message=short(reason) or "RAGAS gave no reason")


def _scored(place: Place, name: str, score: Any, threshold: float) -> Finding:
    # `factual_correctness(mode=f1)` is a column's name.
    lowest = _LOWEST.get(name.partition("_mode_")[0])
    if lowest is None:
        return place.measured(name, score, threshold=threshold)
    return place.bounded(name, score, lowest, threshold=threshold)


def _of_rows(rows: Sequence[Mapping[str, Any]], file: str, threshold: float) -> FindingReport:
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _COLUMNS]
    if rows and not metrics:
        raise no_results(file, TOOL, "column with scores")
    findings: list[Finding] = []
    seen: dict[str, int] = {}
    for row in rows:
        asked = short(row.get("user_input") or row.get("question"))
        name = short(row.get("id")) or short(row.get("case_id")) or asked or "unnamed"
        repeat = seen[name] = seen.get(name, -1) + 1
        place = Place(TOOL, name, repeat, question=asked)
        findings += [_scored(place, slug(metric) or "unnamed", row.get(metric), threshold) for metric in metrics]
    return FindingReport(TOOL, "", tuple(findings), () if rows else ("the file has no row",))


def _csv_rows(data: bytes, file: str) -> list[Mapping[str, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise DocumentError(file, f"is not UTF-8 at byte {error.start}") from error
    except csv.Error as error:
        raise DocumentError(file, f"is no CSV: {error}", hint="it may be cut off; save it again") from error
    if not rows:
        raise DocumentError(file, "is empty", hint="give a saved result of RAGAS with a heading and rows")
    return [{name: _numeral(name, value) for name, value in row.items() if name is not None} for row in rows]


def _numeral(name: str, value: Any) -> Any:
    if name in _COLUMNS or not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value or None

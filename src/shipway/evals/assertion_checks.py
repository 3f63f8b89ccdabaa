"""Whether an assertion holds for an answer, one function a type; `assertions.holds` calls them.

A check that lacks what it judges raises: what was not measured neither holds nor fails.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED
from shipway.evals import text
from shipway.evals.assertion_types import (
    HOLDS_FROM,
    Distance,
    ExpectedCall,
    Languages,
    Likeness,
    PersonalData,
    SchemaFile,
)
from shipway.evals.judgement import Judgement, Task
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Case, Output, ToolCall

Check = Callable[[Any, Case, Output, MetricContext], bool]

REGEX_CHARS = 100_000
"""A regular expression looks at the beginning of an answer only: some take time in the square of its length."""


def is_refusal(output: Output) -> bool:
    """Tell whether the target declined: it reported `abstained`, or the answer opens as a refusal."""
    return ABSTAINED in output.events or text.reads_as_refusal(output.answer)


def judgement_of(task: Task, context: MetricContext) -> Judgement:
    """Return what the judge said of the answer.

    Raises:
        UsageError: it was not asked, or what kept it from judging.
    """
    found = context.judgements.get(task)
    if found is None:
        missing = context.missing_judgements.get(task)
        raise UsageError(missing or f"the answer was not judged for {task}; name a judge in evals.judge")
    return found


def verdict_of(result: object, path: str) -> bool:
    """Tell whether what a user's function returned means that it holds.

    Raises:
        UsageError: neither a truth value nor a number.
    """
    if isinstance(result, (bool, int, float)):
        return result >= HOLDS_FROM
    raise UsageError(f"function {path!r} returned {type(result).__name__}; return True, False or a number from 0 to 1")


def _answer(check: Callable[[Any, str], bool]) -> Check:
    """Return a check that needs no more than the answer's text."""
    return lambda value, _case, output, _context: check(value, output.answer)


def _regex(pattern: re.Pattern[str], answer: str) -> bool:
    found = pattern.search(answer, 0, REGEX_CHARS)
    if len(answer) <= REGEX_CHARS:
        return found is not None
    # What ends where the view ends might end otherwise: `$` is there, and the text goes on.
    if found is not None and found.end() < REGEX_CHARS - 1:
        return True
    raise UsageError(
        f"the answer has {len(answer):,} characters; the regular expression {pattern.pattern[:60]!r} was looked for in "
        f"the first {REGEX_CHARS:,} and not found there"
    )


def _is_json(_value: None, answer: str) -> bool:
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def _schema(validator: Any, answer: str) -> bool:
    if isinstance(validator, SchemaFile):
        raise UsageError(f"the schema file {validator.path!r} was not read; call load_assertions")
    return bool(import_module("shipway.evals.json_schemas").obeys(validator, answer))


def _levenshtein(rule: Distance, answer: str) -> bool:
    distances = import_module("shipway.evals.edit_distance")
    a, b = text.normalise(answer), text.normalise(rule.text)
    if rule.max is not None:
        return bool(distances.distance(a, b, rule.max) <= rule.max)
    return bool(distances.likeness(a, b, rule.min_ratio) >= (rule.min_ratio or 0))


def _language(rule: Languages, answer: str) -> bool:
    return bool(import_module("shipway.evals.languages").confidence_in(answer, rule.codes) >= rule.min_confidence)


def _similar(rule: Likeness, _case: Case, _output: Output, context: MetricContext) -> bool:
    if rule.text not in context.similarities:
        raise UsageError(f"how similar the answer is to {rule.text[:60]!r} was not measured")
    return context.similarities[rule.text] >= rule.threshold


def _rubric(rule: Likeness, _case: Case, _output: Output, context: MetricContext) -> bool:
    score = judgement_of("rubric", context).score
    if score is None:
        raise UsageError(f"the judge has no opinion on rubric {rule.text[:60]!r}")
    return score >= rule.threshold


def _no_pii(rule: PersonalData, _case: Case, output: Output, context: MetricContext) -> bool:
    allowed = {text.normalise(item) for item in rule.allowed}
    return not any(
        text.normalise(output.answer[hit.start : hit.end]) not in allowed
        for hit in context.pii.find(output.answer)
        if not rule.kinds or hit.kind in rule.kinds
    )


def _called(rule: ExpectedCall, _case: Case, output: Output, _context: MetricContext) -> bool:
    places = [place for place, call in enumerate(output.tool_calls) if _is_call(rule, call)]
    if len(places) != rule.times if rule.times is not None else not places:
        return False
    return all(_comes_after(output.tool_calls[:place], rule.order) for place in places)


def _is_call(rule: ExpectedCall, call: ToolCall) -> bool:
    return call.name == rule.name and all(
        key in call.arguments and _same(call.arguments[key], value) for key, value in rule.arguments.items()
    )


def _same(given: Any, expected: Any) -> bool:
    # In JSON true is no number, in Python it is 1.
    return isinstance(given, bool) == isinstance(expected, bool) and bool(given == expected)


def _comes_after(before: Sequence[ToolCall], names: Sequence[str]) -> bool:
    remaining = iter(call.name for call in before)
    return all(name in remaining for name in names)


def _python(path: str, case: Case, output: Output, context: MetricContext) -> bool:
    if path not in context.functions:
        raise UsageError(f"case {case.id!r}: function {path!r} was not loaded; call load_assertions")
    return verdict_of(context.functions[path](case, output), path)


def _within(measure: Callable[[Output], float | None], what: str) -> Check:
    def check(bounds: tuple[float | None, float | None], _case: Case, output: Output, _context: MetricContext) -> bool:
        value = measure(output)
        if value is None:
            raise UsageError(f"{what} was not measured by the target")
        low, high = bounds
        return (low is None or value >= low) and (high is None or value <= high)

    return check


def _fresh(measure: Callable[[Output], float | None]) -> Callable[[Output], float | None]:
    """Return a measure that an answer out of the cache does not have: it would be that of the first time."""
    return lambda output: None if output.cached else measure(output)


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "contains": _answer(lambda term, answer: text.contains(answer, term, fold_case=False)),
        "icontains": _answer(lambda term, answer: text.contains(answer, term)),
        "contains-any": _answer(lambda terms, answer: any(text.contains(answer, term) for term in terms)),
        "contains-all": _answer(lambda terms, answer: all(text.contains(answer, term) for term in terms)),
        "contains-none": _answer(lambda terms, answer: not any(text.contains(answer, term) for term in terms)),
        "starts-with": _answer(lambda term, answer: text.starts_with(answer, term)),
        "equals": _answer(lambda value, answer: text.normalise(answer) == text.normalise(value)),
        "regex": _answer(_regex),
        "is-json": _answer(_is_json),
        "json-schema": _answer(_schema),
        "levenshtein": _answer(_levenshtein),
        "language": _answer(_language),
        "similar": _similar,
        "length": _within(lambda output: float(len(output.answer)), "length"),
        "latency": _within(_fresh(lambda output: output.latency_ms), "latency_ms"),
        "cost": _within(_fresh(lambda output: output.cost_usd), "cost_usd"),
        "refusal": lambda _value, _case, output, _context: is_refusal(output),
        "no-pii": _no_pii,
        "tool-called": _called,
        "python": _python,
        "llm-rubric": _rubric,
    }
)

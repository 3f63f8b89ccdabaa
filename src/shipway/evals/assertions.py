"""Assertions of a case's `assert` list; `metrics` runs them, `case_fields` checks them when loading.

Any type may be negated with `not-` in front. Text is normalised as `text` says before it is compared.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import PurePath
from typing import Any

import anyio
import orjson

from shipway.core.canonical import digest_bytes, digest_json
from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.evals.assertion_checks import CHECKS, is_refusal
from shipway.evals.assertion_types import (
    TYPES,
    Assertion,
    Group,
    Languages,
    SchemaFile,
    read_share,
    read_weight,
)
from shipway.evals.metric_context import Function, MetricContext
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import Similarity
from shipway.evals.suggestions import did_you_mean

__all__ = [
    "LATER",
    "Assertion",
    "CaseError",
    "Function",
    "LoadedAssertions",
    "assertions_of",
    "flat",
    "holds",
    "is_refusal",
    "load_assertions",
    "load_functions",
    "parse_assertions",
    "prepare_similarities",
    "share_held",
]

LATER = ("javascript",)
"""Types that other tools have and Shipway leaves to them."""
_GROUP = "assert-set"
_DEEPEST = 5
_EVERY_TYPE = ("type", "weight", "metric")
_ROUNDING = 1e-9


class CaseError(UsageError):
    """What a case names cannot be used; `case_id` is the first case that names it."""

    def __init__(self, case_id: str, error: UsageError) -> None:
        super().__init__(f"case {case_id!r}: {error.message}", hint=error.hint)
        self.case_id = case_id


@dataclass(frozen=True, slots=True)
class LoadedAssertions:
    """What the assertions of a dataset need, ready for `MetricContext`.

    `digest` covers what stands outside the dataset, the schema files: None without one. Runs with different digests
    measure different things.
    """

    by_case: Mapping[str, tuple[Assertion, ...]] = field(hash=False)
    functions: Mapping[str, Function] = field(hash=False)
    digest: Digest | None = None


def parse_assertions(entries: Iterable[Any]) -> list[Assertion]:
    """Check and parse the entries of an `assert` list.

    Raises:
        UsageError: an entry that is not an object, of unknown type or with a wrong value.
    """
    return [_parse(entry) for entry in entries]


def assertions_of(case: Case, context: MetricContext) -> Sequence[Assertion]:
    """Return a case's assertions, parsed now unless the run's context has them."""
    loaded = context.assertions.get(case.id)
    return parse_assertions(case.assertions) if loaded is None else loaded


def flat(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """Return the assertions and, for a group, its members in its place."""
    for assertion in assertions:
        if isinstance(assertion.value, Group):
            yield from flat(assertion.value.members)
        else:
            yield assertion


async def load_assertions(dataset: Dataset, root: PurePath | str) -> LoadedAssertions:
    """Parse the assertions of a dataset, import its functions and read its schema files, before an answer is paid for.

    Paths of schemas count from `root`, the folder of the project file.

    Raises:
        CaseError: a function that cannot be imported, a file that is no schema.
        UsageError: a language that nobody knows.
    """
    by_case = {case.id: tuple(parse_assertions(case.assertions)) for case in dataset.cases if case.assertions}
    single = [assertion for parsed in by_case.values() for assertion in flat(parsed)]
    codes = {code for assertion in single if isinstance(assertion.value, Languages) for code in assertion.value.codes}
    if codes:
        languages = import_module("shipway.evals.languages")
        await anyio.to_thread.run_sync(languages.check_languages, sorted(codes))
    named: dict[str, str] = {}
    for case_id, parsed in by_case.items():
        for assertion in flat(parsed):
            if isinstance(assertion.value, SchemaFile):
                named.setdefault(assertion.value.path, case_id)
    sources, schemas = {}, {}
    for file, case_id in sorted(named.items()):
        try:
            sources[file] = await _read(root, file)
            schemas[file] = _compiled(file, sources[file])
        except UsageError as error:
            raise CaseError(case_id, error) from error
    return LoadedAssertions(
        {case: tuple(_with_schema(assertion, schemas) for assertion in parsed) for case, parsed in by_case.items()},
        load_functions(dataset),
        digest_json({file: digest_bytes(source) for file, source in sources.items()}) if sources else None,
    )


def load_functions(dataset: Dataset) -> dict[str, Function]:
    """Import the functions that the dataset's `python` assertions name, before any answer is paid for.

    Raises:
        CaseError: a path that cannot be imported or is not callable.
    """
    named: dict[str, str] = {}
    for case in dataset.cases:
        for assertion in flat(parse_assertions(case.assertions)):
            if assertion.type == "python":
                named.setdefault(assertion.value, case.id)
    found = {}
    for path, case_id in sorted(named.items()):
        try:
            found[path] = import_function(path)
        except UsageError as error:
            raise CaseError(case_id, error) from error
    return found


def import_function(path: str) -> Function:
    """Return the function at a path such as `package.module:function`.

    Raises:
        UsageError: nothing that can be called is there.
    """
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"function {path!r} cannot be imported: {error}", hint=_import_hint(path, error)) from error
    if not callable(found):
        raise UsageError(f"{path!r} is {type(found).__name__}, not a function")
    function: Function = found
    return function


def _import_hint(path: str, error: Exception) -> str:
    module, colon, function = path.partition(":")
    if not (module and colon and function) or isinstance(error, ValueError):
        return "Write it as package.module:function."
    if isinstance(error, AttributeError):
        return f"define {function} in {module}, or correct the name"
    if isinstance(error, ModuleNotFoundError) and error.name and not f"{module}.".startswith(f"{error.name}."):
        return f"{module} needs it: install {error.name}"
    return "modules are looked for in the project's folder and among what is installed"


async def prepare_similarities(
    cases: Iterable[Case], attempts: Iterable[Attempt], similarity: Similarity
) -> dict[tuple[str, int], Mapping[str, float]]:
    """Measure every answer against the texts of its case's `similar` assertions, in one call.

    The result is by case id and repeat, then by the assertion's text: what `MetricContext.similarities` wants. Failed
    answers have none.
    """
    texts = {
        case.id: [item.value.text for item in flat(parse_assertions(case.assertions)) if item.type == "similar"]
        for case in cases
    }
    places = [
        (attempt.case_id, attempt.repeat, wanted, attempt.output.answer)
        for attempt in attempts
        if attempt.output.error is None
        for wanted in texts.get(attempt.case_id, ())
    ]
    found: dict[tuple[str, int], dict[str, float]] = {}
    if places:
        cosines = await similarity.similarity([(answer, wanted) for _, _, wanted, answer in places])
        for (case_id, repeat, wanted, _), cosine in zip(places, cosines, strict=True):
            found.setdefault((case_id, repeat), {})[wanted] = cosine
    return dict(found)


def holds(assertion: Assertion, case: Case, output: Output, context: MetricContext) -> bool:
    """Tell whether an assertion holds for an output that is not an error.

    Raises:
        UsageError: what it judges was not measured, or its function was not loaded.
    """
    if isinstance(assertion.value, Group):
        share = share_held(assertion.value.members, case, output, context)
        return (share >= assertion.value.threshold - _ROUNDING) is not assertion.negated
    found = context.held.get(id(assertion)) if context.held is not None else None
    if found is None:
        if assertion.type == "llm-rubric" and assertion.negated:
            _demand_single_rubric(case)
        found = CHECKS[assertion.type](assertion.value, case, output, context) is not assertion.negated
        if context.held is not None:
            context.held[id(assertion)] = found
    return found


def share_held(assertions: Sequence[Assertion], case: Case, output: Output, context: MetricContext) -> float:
    """Return the share of assertions that hold, by weight; all are looked at.

    Raises:
        UsageError: one of them cannot be judged.
    """
    held = sum(assertion.weight for assertion in assertions if holds(assertion, case, output, context))
    return held / sum(assertion.weight for assertion in assertions)


def _demand_single_rubric(case: Case) -> None:
    # A judge gets all rubrics of a case as one text, and its opinion on all says nothing of the opposite of one.
    if sum(item.type == "llm-rubric" for item in flat(parse_assertions(case.assertions))) > 1:
        raise UsageError(f"case {case.id!r}: not-llm-rubric stands beside another rubric; give it a case of its own")


def _parse(entry: Any, depth: int = 1) -> Assertion:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise UsageError(f"expected an object with a 'type', got {str(entry)[:60]!r}")
    name = entry["type"]
    kind = name.removeprefix("not-")
    if kind in LATER:
        raise UsageError(
            f"type: {name!r} is run by promptfoo alone: `promptfoo eval`; write it as a 'python' "
            "function to have it judged here"
        )
    if kind != _GROUP and kind not in TYPES:
        raise UsageError(f"type: unknown {name!r}; {did_you_mean(kind, (*TYPES, _GROUP))}")
    keys = (*_EVERY_TYPE, *(("assert", "threshold") if kind == _GROUP else TYPES[kind].keys))
    for key in entry:
        if key not in keys:
            raise UsageError(f"{key}: unknown for type {name!r}; {did_you_mean(key, keys)}")
    metric = entry.get("metric", "")
    if not isinstance(metric, str) or ("metric" in entry and not metric.strip()):
        raise UsageError(f"metric: expected the name of a score, got {metric!r}")
    value = _group(entry, name, depth) if kind == _GROUP else TYPES[kind].read(entry, name)
    return Assertion(kind, name != kind, value, read_weight(entry), metric)


def _group(entry: Mapping[str, Any], name: str, depth: int) -> Group:
    members = entry.get("assert")
    if not isinstance(members, list) or not members:
        raise UsageError(f"assert: {name!r} needs a list of assertions, got {str(members)[:60]}")
    if depth >= _DEEPEST:
        raise UsageError(f"assert: groups are nested more than {_DEEPEST - 1} deep")
    parsed: list[Assertion] = []
    for index, item in enumerate(members):
        try:
            parsed.append(_parse(item, depth + 1))
        except UsageError as error:
            raise UsageError(f"assert[{index}]: {error.message}") from error
    return Group(tuple(parsed), read_share(entry, "threshold", name, 1))


async def _read(root: PurePath | str, file: str) -> bytes:
    try:
        return await (anyio.Path(root) / file).read_bytes()
    except OSError as error:
        raise UsageError(f"json-schema: {file!r} cannot be read: {error.strerror or error}") from error


def _compiled(file: str, source: bytes) -> Any:
    try:
        return import_module("shipway.evals.json_schemas").compile_schema(orjson.loads(source))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"json-schema: {file}:{error.lineno}: not JSON: {error.msg}") from error
    except UsageError as error:
        raise UsageError(f"json-schema: {file}: {error.message}") from error


def _with_schema(assertion: Assertion, schemas: Mapping[str, Any]) -> Assertion:
    value = assertion.value
    if isinstance(value, SchemaFile):
        return replace(assertion, value=schemas[value.path])
    if isinstance(value, Group):
        members = tuple(_with_schema(member, schemas) for member in value.members)
        return replace(assertion, value=replace(value, members=members))
    return assertion

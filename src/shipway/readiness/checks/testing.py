"""TEST: what the tests and evaluations of the app look at."""

import ast

from shipway.config.sections.gates import Gate
from shipway.config.yaml_source import parse_yaml
from shipway.core.errors import ConfigError
from shipway.readiness.facts import Facts
from shipway.readiness.model import (
    Area,
    Check,
    Effort,
    Evidence,
    Outcome,
    Source,
    UndecidedError,
    failed,
    not_applicable,
    passed,
)
from shipway.readiness.own_services import as_far_as_seen
from shipway.readiness.python_code import TestFunction, own_modules, tests_in, words_of

_TOPICS = {
    "chunking": {"chunk", "chunks", "chunking", "chunker", "split", "splitter"},
    "prompts": {"prompt", "prompts", "template"},
    "schemas": {"schema", "schemas", "validate", "validation", "validator"},
    "cost": {"cost", "costs", "price", "prices", "pricing"},
    "text": {"clean", "normalise", "normalize", "preprocess", "strip", "sanitize", "sanitise"},
}
_CASES = 50
_SUPPORT = ("supported", "faithfulness", "citation_support")
_OTHERS = ("recall_at_", "hallucination")
_REPEATS = 2


def unit_topics(facts: Facts) -> Outcome:
    """TEST-1: of the topics that the project's own code has, each needs a test that can fail."""
    loaded, repository = facts.the_settings(), facts.the_repository()
    modules = own_modules(repository)
    if not modules:
        app = Evidence(Source.SETTINGS, "shipway.yaml routes", ", ".join(loaded.project.routes))
        told = Evidence(Source.REPOSITORY, f"{len(repository.paths)} files", "no Python module of the project's own")
        outcome = not_applicable("the project has no code of its own; chunking and cost are Shipway's", told, app)
        return as_far_as_seen(facts, outcome, "the code")
    there = {topic for topic, words in _TOPICS.items() if _defines(modules, words)}
    if not there:
        raise UndecidedError(
            "no function of the code is named after chunking, prompts, schemas, cost or text",
            "attest what the unit tests cover",
        )
    tests = [test for test in tests_in(repository) if not test.is_integration]
    seen, missing = [], []
    for topic in sorted(there):
        found = next((test for test in tests if test.words & _TOPICS[topic]), None)
        if found is None:
            missing.append(topic)
        else:
            seen.append(facts.line(found.path, found.line, f"{topic}: {found.name}"))
    if missing:
        return failed(
            f"the code has {', '.join(sorted(there))}; no unit test names {', '.join(missing)}",
            f"write tests/unit/test_{missing[0]}.py",
            *seen,
        )
    return passed(*seen)


def _defines(modules: dict[str, ast.Module], words: set[str]) -> bool:
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and words_of(node.name) & words:
                return True
    return False


def integration_topics(facts: Facts) -> Outcome:
    """TEST-2: the API, retrieval where there is any, the cache where one is on."""
    project = facts.the_project()
    tests = [test for test in tests_in(facts.the_repository()) if test.is_integration]
    smoke = _smoke(facts)
    wanted = {"the API": {"client", "get", "post", "request", "api", "asgi", "httpx"}}
    if any(route.kind == "rag" for route in project.routes.values()):
        wanted["retrieval"] = {"rag", "retrieve", "retrieval", "citation", "citations", "ask", "documents"}
    if project.cache.routes:
        wanted["the cache"] = {"cache", "cached", "hit", "hits"}
    seen, missing = [], []
    for topic, words in wanted.items():
        found = _topical(facts, tests, words) or smoke.get(topic)
        if found is None:
            missing.append(topic)
        else:
            seen.append(found)
    if missing:
        return failed(
            f"no integration test names {', '.join(missing)}",
            "write evals/smoke.yaml and name it in `evals.smoke`, or tests/integration/test_api.py",
            *seen,
        )
    return passed(*dict.fromkeys(seen))


def _topical(facts: Facts, tests: list[TestFunction], words: set[str]) -> Evidence | None:
    found = next((test for test in tests if test.words & words), None)
    return facts.line(found.path, found.line, found.name) if found is not None else None


def _smoke(facts: Facts) -> dict[str, Evidence]:
    """Return what the project's own smoke checks ask; each check with a prompt is a request through the API."""
    path = facts.the_project().evals.smoke
    text = facts.the_repository().text(path) if path else None
    if path is None or text is None:
        return {}
    try:
        # The file is a list; below a key of its own it is read with its lines.
        source = parse_yaml(f"checks:\n{text}", path)
    except ConfigError as error:
        raise UndecidedError(f"{path} cannot be read", "`shipway eval smoke` says what is wrong with it") from error
    listed = source.data.get("checks")
    found: dict[str, Evidence] = {}
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(item, dict) or not item.get("prompt") or item.get("open"):
            continue
        place = source.places.get(("checks", index))
        told = facts.line(path, (place.line or 2) - 1 if place else 1, f"{item.get('kind')}: {item.get('name')}")
        found.setdefault("the API", told)
        if item.get("kind") == "citation":
            found.setdefault("retrieval", told)
    return found


def enough_cases(facts: Facts) -> Outcome:
    """TEST-3."""
    found = facts.the_dataset()
    told = Evidence(Source.DATASET, found.path, f"{found.cases} cases, {found.questions} different questions")
    if found.questions < _CASES:
        return failed(
            f"{found.questions} different questions; {_CASES} are the least",
            f"add cases to {found.path}; `shipway dataset proposals list` offers some from traffic",
            told,
        )
    return passed(told)


def thresholds(facts: Facts) -> Outcome:
    """TEST-4."""
    project = facts.the_project()
    wanted = {
        "metric: supported, min: 0.85": _index(project.gates, _SUPPORT, least=0.85),
        "metric: hallucination, max: 0.05": _hallucination(project.gates),
    }
    if project.corpus is not None:
        wanted["metric: recall_at_5, min: 0.80"] = _index(project.gates, ("recall_at_",), least=0.80)
    missing = [name for name, index in wanted.items() if index is None]
    found = [index for index in wanted.values() if index is not None]
    if missing:
        told = ", ".join(f"{{ {name} }}" for name in missing)
        near = [index for index, gate in enumerate(project.gates) if gate.metric.startswith((*_SUPPORT, *_OTHERS))]
        seen = [facts.setting("gates", index, says=_told(project.gates[index])) for index in sorted({*found, *near})]
        return failed(f"no gate is as strict as {told}", f"`gates: [{told}]`", *seen)
    return passed(*(facts.setting("gates", index, says=_told(project.gates[index])) for index in sorted(set(found))))


def _index(gates: tuple[Gate, ...], names: tuple[str, ...], *, least: float) -> int | None:
    for index, gate in enumerate(gates):
        if gate.metric.startswith(names) and gate.min is not None and gate.min >= least and not gate.tags:
            return index
    return None


def _hallucination(gates: tuple[Gate, ...]) -> int | None:
    for index, gate in enumerate(gates):
        limit = gate.max if gate.max is not None else gate.max_rate if gate.zero_tolerance else None
        if gate.metric == "hallucination" and limit is not None and limit <= 0.05 and not gate.tags:  # noqa: PLR2004
            return index
    # An answer that is not supported is one that is hallucinated: at least 95 % supported is at most 5 % of the other.
    return _index(gates, ("supported", "faithfulness"), least=0.95)


def _told(gate: Gate) -> str:
    limit = f"min {gate.min:g}" if gate.min is not None else f"max {gate.max:g}" if gate.max is not None else "other"
    return f"{gate.metric} {limit}"


def load(facts: Facts) -> Outcome:
    """TEST-5: a load test's result is not in the repository."""
    del facts
    raise UndecidedError(
        "no result of a load test can be seen from here",
        "run one at the traffic you expect (`shipway load --for 5m --limit p99_ms=5000`), then attest the p99",
    )


def repeats(facts: Facts) -> Outcome:
    """TEST-6."""
    evals = facts.the_project().evals
    seen = (facts.setting("evals", "repeats"), facts.setting("evals", "looks"))
    if evals.repeats < _REPEATS and evals.looks < _REPEATS:
        return failed("each case is asked once, as if a model always said the same", "`evals: { repeats: 3 }`", *seen)
    return passed(*seen)


CHECKS = (
    Check(
        Area.TESTING,
        1,
        "Unit tests cover chunking, prompts, schemas, cost and text",
        "D 11",
        2,
        "these are the parts that break silently",
        unit_topics,
        "what the unit tests cover",
    ),
    Check(
        Area.TESTING,
        2,
        "Integration tests cover the API, retrieval and the cache",
        "D 11",
        2,
        "what is deployed by itself must work as a whole",
        integration_topics,
        "what the integration tests cover",
    ),
    Check(
        Area.TESTING,
        3,
        "At least 50 different evaluation cases",
        "D 11",
        3,
        "fewer cannot tell a good release from a bad one",
        enough_cases,
        effort=Effort.WORK,
    ),
    Check(
        Area.TESTING,
        4,
        "Gates on recall, faithfulness and hallucination",
        "D 11",
        3,
        "a threshold that nobody set is never missed",
        thresholds,
        effort=Effort.LINE,
    ),
    Check(
        Area.TESTING,
        5,
        "p99 below 5 s at the traffic that is expected",
        "D 11",
        4,
        "a service that is optimised for cost runs near its limits",
        load,
        "the load (requests a second, users), the p99 and when it was measured",
        Effort.RUN,
    ),
    Check(
        Area.TESTING,
        6,
        "Cases are asked more than once",
        "A 13",
        3,
        "a model is no function: one answer proves little",
        repeats,
        effort=Effort.LINE,
    ),
)

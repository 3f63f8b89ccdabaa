"""CICD: what the jobs of the CI system do."""

import re
from collections.abc import Iterable, Iterator

from shipway.readiness.ci import Ci, Step, ci_of, searched
from shipway.readiness.ci_model import Event
from shipway.readiness.facts import Facts
from shipway.readiness.images import WRITE_ONE, dockerfile_of
from shipway.readiness.model import Area, Check, Effort, Evidence, Outcome, Source, failed, passed
from shipway.readiness.python_code import TestFunction, tests_in
from shipway.readiness.shell import Command

_LINTERS = {"flake8", "pylint", "mypy", "pyright", "eslint", "pyflakes", "black"}
_DEPLOYERS = (
    ("kubectl", "apply"),
    ("kubectl", "set", "image"),
    ("helm", "upgrade"),
    ("gcloud", "run", "deploy"),
    ("gcloud", "run", "services", "update"),
    ("aws", "ecs", "update-service"),
    ("aws", "ecs", "deploy"),
    ("az", "containerapp", "up"),
    ("az", "containerapp", "update"),
    ("flyctl", "deploy"),
    ("fly", "deploy"),
    ("railway", "up"),
    ("modal", "deploy"),
    ("argocd", "app", "sync"),
    ("shipway", "deploy"),
)
_BUILDERS = {
    ("docker", "build"),
    ("docker", "buildx"),
    ("docker", "compose"),
    ("buildah", "bud"),
    ("buildah", "build"),
    ("podman", "build"),
    ("nerdctl", "build"),
}
_BUILD_ACTIONS = {"docker/build-push-action", "docker/bake-action"}
_DEPLOY_ACTIONS = {
    "google-github-actions/deploy-cloudrun",
    "aws-actions/amazon-ecs-deploy-task-definition",
    "azure/container-apps-deploy-action",
    "azure/k8s-deploy",
}
_NO_TESTS = {"--collect-only", "--co", "--version", "--help", "-h", "--fixtures"}
_HALLUCINATION = ("supported", "faithfulness", "hallucination", "citation_support")
_PIPELINE = "in a job on pull requests: `shipway pipeline run`, with the stages in shipway.yaml"


def lint_and_unit(facts: Facts) -> Outcome:
    """CICD-1."""
    ci, tests = ci_of(facts), [test for test in tests_in(facts.the_repository()) if not test.is_integration]
    lints = searched(ci, Event.PULL_REQUEST, (step for step in ci.on(Event.PULL_REQUEST) if _lints(step.command)))
    runs = searched(ci, Event.PULL_REQUEST, (step for step in ci.on(Event.PULL_REQUEST) if _runs(step.command, tests)))
    if not lints:
        return failed("no job on pull requests lints", "add the step `ruff check .`", *_jobs(ci))
    if not tests:
        return failed("there is no unit test that can fail", "write tests/unit/test_*.py", *lints[0].evidence())
    if not runs:
        return failed("no job on pull requests runs the unit tests", "add the step `pytest`", *lints[0].evidence())
    return passed(*lints[0].evidence(), *runs[0].evidence(), _test(facts, tests[0], len(tests)))


def _lints(command: Command) -> bool:
    argv = command.argv
    if argv[:2] in {("ruff", "check"), ("ruff", "format")}:
        return argv[1] == "check" and "--exit-zero" not in argv
    return command.program in _LINTERS and "--exit-zero" not in argv and "--version" not in argv


def _runs(command: Command, tests: Iterable[TestFunction]) -> bool:
    """Tell whether a command runs at least one of the tests."""
    if command.program not in {"pytest", "py.test"} or _NO_TESTS & set(command.argv):
        return False
    words = command.argv[1:]
    taking = {"-m", "-k", "-n", "-c", "-p", "-o", "--ignore", "--deselect", "--maxfail", "--cov", "--junitxml"}
    paths = [
        word.split("::")[0].rstrip("/").removeprefix("./")
        for index, word in enumerate(words)
        if not word.startswith("-") and (index == 0 or words[index - 1] not in taking)
    ]
    chosen = _chosen(words)
    return any(
        (not paths or any(path in {".", ""} or test.path == path or test.path.startswith(path + "/") for path in paths))
        and _selected(test, chosen)
        for test in tests
    )


def _chosen(words: tuple[str, ...]) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words[:-1]) if word in {"-m", "-k"}]


def _selected(test: TestFunction, chosen: list[str]) -> bool:
    for expression in chosen:
        wanted = re.fullmatch(r"(not\s+)?\(?(\w+)\)?", expression.strip())
        if wanted is None or wanted[2] not in {"integration", "e2e"}:
            # What else an expression selects is not known; "not slow" leaves something.
            if wanted is None or not wanted[1]:
                return False
            continue
        if test.is_integration == bool(wanted[1]):
            return False
    return True


def integration(facts: Facts) -> Outcome:
    """CICD-2."""
    ci, tests = ci_of(facts), [test for test in tests_in(facts.the_repository()) if test.is_integration]
    asks = {("shipway", "eval", "smoke"), ("shipway", "eval", "contract")}
    found = searched(
        ci,
        Event.PULL_REQUEST,
        (step for step in ci.on(Event.PULL_REQUEST) if _runs(step.command, tests) or step.command.argv[:3] in asks),
    )
    if found:
        told = [_test(facts, tests[0], len(tests))] if tests and _runs(found[0].command, tests) else []
        return passed(*found[0].evidence(), *told)
    what = "runs tests/integration" if tests else "runs integration tests, and there are none"
    return failed(
        f"no job on pull requests {what}", "add the step `shipway eval smoke` or `pytest tests/integration`", *_jobs(ci)
    )


def eval_gates(facts: Facts) -> Outcome:
    """CICD-3."""
    ci, gates = ci_of(facts), facts.the_project().gates
    found = searched(ci, Event.PULL_REQUEST, _evaluations(ci.on(Event.PULL_REQUEST)))
    if not found:
        return failed("no job on pull requests evaluates", _PIPELINE, *_jobs(ci))
    if not gates:
        return failed(
            "evaluations have no threshold, so none can fail",
            "`gates: [{ metric: correct, min: 0.8 }]`",
            *found[0].evidence(),
        )
    return passed(*found[0].evidence(), *_gate_evidence(facts))


def _evaluations(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        argv = step.command.argv
        if argv[:3] in {("shipway", "eval", "run"), ("shipway", "gate", "run")} and "--no-gates" not in argv:
            yield step


def _gate_evidence(facts: Facts) -> list[Evidence]:
    return [
        facts.setting("gates", index, says=gate.metric or "model_update")
        for index, gate in enumerate(facts.the_project().gates)
    ][:3]


def image_build(facts: Facts) -> Outcome:
    """CICD-4."""
    ci = ci_of(facts)
    if dockerfile_of(facts) is None:
        return failed("there is no Dockerfile to build", WRITE_ONE)
    action = _action(ci, _BUILD_ACTIONS, None)
    if action:
        return passed(*action)
    steps = [step for step in ci.steps if step.job.events and _builds(step.command)]
    found = searched(ci, None, steps)
    if not found:
        return failed("no job builds the image", "add the step `docker build .`", *_jobs(ci))
    return passed(*found[0].evidence())


def _builds(command: Command) -> bool:
    argv = command.argv
    if argv[:2] in {("docker", "buildx"), ("docker", "compose")}:
        return argv[2:3] in {("build",), ("bake",)}
    return argv[:2] in _BUILDERS or command.program in {"kaniko", "/kaniko/executor", "executor"}


def _action(ci: Ci, names: set[str], event: Event | None) -> tuple[Evidence, ...]:
    for job in ci.jobs:
        if not job.events or (event is not None and event not in job.events):
            continue
        for where, name in job.actions:
            if name.lower() in {known.lower() for known in names}:
                return (Evidence(Source.REPOSITORY, where, f"job {job.name} uses {name}"),)
    return ()


def automatic_deploy(facts: Facts) -> Outcome:
    """CICD-5."""
    ci = ci_of(facts)
    action = _action(ci, _DEPLOY_ACTIONS, Event.MAIN)
    if action:
        return passed(*action)
    found = searched(
        ci,
        Event.MAIN,
        (step for step in ci.on(Event.MAIN) if _deploys(step.command)),
    )
    if not found:
        return failed(
            "no job on pushes to the main branch deploys", "add the step `shipway deploy RELEASE --wait`", *_jobs(ci)
        )
    return passed(*found[0].evidence())


def hallucinations(facts: Facts) -> Outcome:
    """CICD-8."""
    gates = facts.the_project().gates
    own = [index for index, gate in enumerate(gates) if gate.metric.split(":")[-1] in _HALLUCINATION]
    if not own:
        return failed(
            "no gate judges whether answers are supported",
            "`gates: [{ metric: supported, min: 0.85 }]` or, with `evals.judge`, faithfulness",
        )
    ci = ci_of(facts)
    found = searched(ci, None, _evaluations(step for step in ci.steps if step.job.events))
    if not found:
        return failed("no job of CI evaluates", _PIPELINE, *_jobs(ci))
    return passed(facts.setting("gates", own[0], says=gates[own[0]].metric), *found[0].evidence())


def evals_in_ci(facts: Facts) -> Outcome:
    """CICD-11: at all, whenever."""
    ci = ci_of(facts)
    steps = [
        step
        for step in ci.steps
        if step.job.events and step.command.argv[:2] in {("shipway", "eval"), ("shipway", "gate")}
    ]
    tests = [step for step in steps if step.command.argv[2:3] == ("run",)]
    found = searched(ci, None, tests)
    if not found:
        return failed("no job of CI evaluates", _PIPELINE, *_jobs(ci))
    return passed(*found[0].evidence())


def _jobs(ci: Ci) -> list[Evidence]:
    return [
        Evidence(
            Source.REPOSITORY,
            f"{job.path}:{job.line}",
            f"job {job.name} runs on {', '.join(sorted(job.events)) or 'neither pull requests nor main'}",
        )
        for job in ci.jobs
    ][:4]


def _test(facts: Facts, test: TestFunction, count: int) -> Evidence:
    return facts.line(test.path, test.line, f"{test.name}, one of {count} tests")


def _deploys(command: Command) -> bool:
    known = any(command.argv[: len(words)] == words for words in _DEPLOYERS)
    return known and not any("--dry-run" in word or word == "--help" for word in command.argv)


_IN_CI = "which job of the CI system does it on pull requests, with a link to a run"

CHECKS = (
    Check(
        Area.CICD,
        1,
        "Lint and unit tests on every pull request",
        "D 11",
        2,
        "nothing may be deployed by itself that was not tested by itself",
        lint_and_unit,
        _IN_CI,
    ),
    Check(
        Area.CICD,
        2,
        "Integration tests on every pull request",
        "D 11",
        2,
        "units that work alone may fail together",
        integration,
        _IN_CI,
    ),
    Check(
        Area.CICD,
        3,
        "Evaluations with thresholds on every pull request",
        "D 11",
        3,
        "tests cannot see that answers got worse",
        eval_gates,
        _IN_CI,
    ),
    Check(
        Area.CICD,
        4,
        "CI builds the image",
        "D 11",
        2,
        "an image that does not build cannot be deployed by itself",
        image_build,
        _IN_CI,
        Effort.LINE,
    ),
    Check(
        Area.CICD,
        5,
        "A merge to the main branch is deployed by itself",
        "D 11",
        2,
        "it is what automated means on the ladder",
        automatic_deploy,
        "which job deploys, with a link to a run",
    ),
    Check(
        Area.CICD,
        8,
        "CI looks for unsupported answers",
        "A 12",
        3,
        "hallucination is the failure that users of an LLM meet first",
        hallucinations,
        _IN_CI,
    ),
    Check(
        Area.CICD,
        11,
        "CI evaluates at all",
        "A 13",
        3,
        "quality that is looked at by hand is looked at once",
        evals_in_ci,
        _IN_CI,
    ),
)

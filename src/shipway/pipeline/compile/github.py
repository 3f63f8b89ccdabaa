"""The pipeline as a workflow of GitHub Actions: one job for each stage, plain steps, actions pinned by commit."""

import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any

from shipway.pipeline.compile.commands import gpu_labels, header, install_lines, run_line
from shipway.pipeline.compile.plan import CACHE, ID_TOKEN, CompilePlan, Job
from shipway.pipeline.compile.refusals import Refusals
from shipway.pipeline.compile.yaml_text import yaml_text
from shipway.pipeline.patterns import fixed_part

CHANGES = "shipway-changes"
"""The job that finds out which parts of the release changed."""
ACTIONS = {
    "actions/checkout": ("08c6903cd8c0fde910a37f88322edcfb5dd907a8", "v5.0.0"),
    "actions/setup-python": ("e797f83bcb11b83ae66e0230d6156d7c80228e7c", "v6.0.0"),
    "actions/cache": ("0057852bfaa89a56745cba8c7296529d2fc39830", "v4.3.0"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
}
"""Each action's commit and the release that it is: a tag can be moved, a commit cannot."""
_HOSTED = ("ubuntu-", "windows-", "macos-")
_HOSTED_LIMIT_MIN = 360
_LIMIT_MIN = 5 * 24 * 60
_MOST_SHARDS = 256
# What the runner itself puts into a job's environment.
_GIVEN = ("GITHUB_", "RUNNER_", "ACTIONS_")
_EVENTS = {
    "push": "github.event_name == 'push' && github.ref_type == 'branch'",
    "pull_request": "github.event_name == 'pull_request'",
    "tag": "github.event_name == 'push' && github.ref_type == 'tag'",
    "schedule": "github.event_name == 'schedule'",
    "manual": "github.event_name == 'workflow_dispatch'",
    "model_update": "github.event_name == 'workflow_dispatch' && inputs.event == 'model_update'",
}
_BRANCH = "(github.head_ref || github.ref_type == 'branch' && github.ref_name || '')"
# A fork's branches may have any name: `main` of a fork is not ours.
_OURS = "(github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository)"
_PATTERN = re.compile(r"([^*?]+)|\*([^*?]*)\*|([^*?]*)\*([^*?]*)")
_IDENTITY = (
    'token="$(curl --silent --show-error --fail --header "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN"'
    ' "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$AUDIENCE"'
    ' | python -c \'import json, sys; print(json.load(sys.stdin)["value"])\')"\n'
    'echo "::add-mask::$token"\n'
    f'echo "{ID_TOKEN}=$token" >> "$GITHUB_ENV"\n'
)
_CHANGED = 'echo "parts=$(shipway pipeline changed --since "$BASE"{project})" >> "$GITHUB_OUTPUT"'


def compile_github(plan: CompilePlan, called: str = "") -> str:
    """Return the workflow; with `called`, the stage that another workflow calls this one for.

    Raises:
        ConfigError: it has what a workflow cannot say.
    """
    _check(plan)
    document: dict[str, Any] = {
        "name": f"shipway {called}" if called else "shipway",
        "on": _called_on(plan) if called else _on(plan),
        "permissions": {},
        "jobs": {},
    }
    if plan.watches_changes:
        document["jobs"][CHANGES] = _changes_job(plan)
    for job in plan.jobs:
        document["jobs"][job.stage] = _job(plan, job)
    text = yaml_text(document, header(plan, "github", f" --reusable {called}" if called else ""))
    # A comment is the one thing that a dumper does not write: the release that a commit stands for.
    for action, (commit, release) in ACTIONS.items():
        text = text.replace(f'uses: "{action}@{commit}"\n', f"uses: {action}@{commit} # {release}\n")
    return text


def _check(plan: CompilePlan) -> None:
    refused = Refusals("GitHub Actions")
    for pattern in plan.ci.branches:
        if "?" in pattern:
            refused.add_setting("branches", f"means something else by the ? of {pattern!r}")
    for job in plan.jobs:
        if job.stage == CHANGES:
            refused.add(job.stage, "name", "has a job of this name that finds out what changed")
        for pattern in job.branches:
            _check_pattern(refused, job.stage, pattern)
        minutes = _minutes(job)
        if minutes > _LIMIT_MIN:
            refused.add(job.stage, "timeout_s", f"ends a job after {_LIMIT_MIN} minutes, and this may take {minutes}")
        elif minutes > _HOSTED_LIMIT_MIN and plan.ci.runner.startswith(_HOSTED) and not gpu_labels(plan, job):
            refused.add(
                job.stage,
                "timeout_s",
                f"ends a job on its own machines after {_HOSTED_LIMIT_MIN} minutes, and this may take {minutes} with"
                " its retries; name a runner of your own in ci.runner",
            )
        if job.shards > _MOST_SHARDS:
            refused.add(job.stage, "shards", f"makes at most {_MOST_SHARDS} jobs of one")
        rival = _rival(plan, job) if job.concurrency else ""
        if rival:
            refused.add(
                job.stage,
                "concurrency",
                f"lets one job of a group wait and cancels the others, and {rival} may wait at the same time",
            )
    refused.settle()


def _rival(plan: CompilePlan, job: Job) -> str:
    """Return what of the same run could wait in the group of a job, empty for nothing."""
    if job.shards > 1:
        return "its other shards"
    for other in plan.jobs:
        ordered = other.stage in job.ancestors or job.stage in other.ancestors
        if other.stage != job.stage and other.concurrency == job.concurrency and not ordered:
            return other.stage
    return ""


def _check_pattern(refused: Refusals, stage: str, pattern: str) -> None:
    if _pattern_expression(pattern) is None:
        refused.add(
            stage,
            "when.branches",
            f"has no patterns in conditions, and {pattern!r} is more than a beginning, an end or a middle",
        )


def _on(plan: CompilePlan) -> dict[str, Any]:
    found: dict[str, Any] = {"push": {"branches": [re.sub(r"\*+", "**", pattern) for pattern in plan.branches]}}
    if "tag" in plan.events:
        found["push"]["tags"] = ["**"]
    if "pull_request" in plan.events:
        found["pull_request"] = {}
    if plan.ci.schedule:
        found["schedule"] = [{"cron": plan.ci.schedule}]
    found["workflow_dispatch"] = {}
    if "model_update" in plan.events:
        choice = {"description": "What happened", "type": "choice", "options": ["manual", "model_update"]}
        found["workflow_dispatch"] = {"inputs": {"event": choice}}
    return found


def _called_on(plan: CompilePlan) -> dict[str, Any]:
    secrets = dict.fromkeys(name for job in plan.jobs for name in job.variables if not _given(name))
    secrets.pop("GITHUB_TOKEN", None)
    called: dict[str, Any] = {}
    if secrets:
        called["secrets"] = {name: {"required": False} for name in secrets}
    return {"workflow_call": called}


def _job(plan: CompilePlan, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {"name": job.stage}
    needs = [*job.needs, *([CHANGES] if job.changed else [])]
    if needs:
        found["needs"] = needs
    condition = _condition(plan, job)
    if condition:
        found["if"] = f"${{{{ {condition} }}}}"
    found["runs-on"] = ["self-hosted", *gpu_labels(plan, job)] if job.resources.gpus else plan.ci.runner
    if job.image:
        found["container"] = {"image": job.image}
    if job.environment:
        found["environment"] = {"name": job.environment}
    if job.concurrency:
        found["concurrency"] = {"group": job.concurrency, "cancel-in-progress": False}
    found["permissions"] = {"contents": "read"} | ({"id-token": "write"} if job.identity else {})
    found["timeout-minutes"] = _minutes(job)
    if job.allow_failure:
        found["continue-on-error"] = True
    if job.shards > 1:
        found["strategy"] = {"fail-fast": False, "matrix": {"shard": list(range(1, job.shards + 1))}}
    found["steps"] = list(_steps(plan, job))
    return found


def _condition(plan: CompilePlan, job: Job) -> str:
    """Return when a job runs: left-out jobs do not hold it back, failed and cancelled ones do."""
    asked = []
    if job.limited:
        asked.append(_any(_event(event, plan) for event in job.events))
    if job.branches:
        patterns = _any(found for pattern in job.branches if (found := _pattern_expression(pattern)))
        asked.append(f"github.ref_type == 'branch' && {_OURS} && {patterns}")
    if job.changed:
        parts = [f"contains(needs.{CHANGES}.outputs.parts, '{part}')" for part in job.changed]
        asked.append(_any([f"needs.{CHANGES}.result == 'skipped'", *parts]))
    if job.needs or job.changed:
        asked = ["!cancelled() && !failure()", *asked]
    return " && ".join(asked)


def _event(event: str, plan: CompilePlan) -> str:
    if event == "manual" and "model_update" in plan.events:
        return f"{_EVENTS[event]} && inputs.event != 'model_update'"
    return _EVENTS[event]


def _any(conditions: Iterable[str]) -> str:
    return f"({' || '.join(f'({condition})' for condition in conditions)})"


def _pattern_expression(pattern: str) -> str | None:
    """Return the expression that says that the branch matches, None when there is no exact one."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        return None
    whole, middle, start, end = match.groups()
    if whole:
        return f"{_BRANCH} == '{whole}'"
    if middle is not None:
        return f"contains({_BRANCH}, '{middle}')"
    if any(start.lower().endswith(end.lower()[:length]) for length in range(1, len(end) + 1)):
        # `ab*bc` does not match `abc`, which begins and ends as it should.
        return None
    said = [f"startsWith({_BRANCH}, '{start}')"] if start else []
    said += [f"endsWith({_BRANCH}, '{end}')"] if end else []
    return " && ".join(said) or "true"


def _steps(plan: CompilePlan, job: Job) -> Iterator[dict[str, Any]]:
    yield _uses("actions/checkout", {"persist-credentials": False})
    if not job.image:
        yield _uses("actions/setup-python", {"python-version": plan.ci.python})
    for need in job.ancestors:
        # A pattern, as one that left nothing because it was left out must not fail this job.
        found = {"pattern": f"shipway.{need}.*", "path": _artifact_root(plan, plan.job(need)), "merge-multiple": True}
        yield _uses("actions/download-artifact", found)
    # A pipeline that tags start publishes what it makes: nothing in it may come from an earlier run's cache.
    if job.cached and "tag" not in plan.events:
        known = {
            "path": plan.folder + CACHE,
            "key": f"shipway-{job.stage}-${{{{ github.sha }}}}",
            "restore-keys": f"shipway-{job.stage}-",
        }
        yield _uses("actions/cache", known)
    yield {"name": "Install", "run": "\n".join([*install_lines(plan, job), ""])}
    if job.identity:
        yield {"name": "Identity", "env": {"AUDIENCE": plan.ci.audience}, "run": _IDENTITY}
    yield from _run_steps(plan, job)


def _run_steps(plan: CompilePlan, job: Job) -> Iterator[dict[str, Any]]:
    variables = {name: _value(name) for name in job.variables if not _given(name)}
    if job.shards > 1:
        variables["SHIPWAY_JOB_SHARD"] = "${{ matrix.shard }}"
    step: dict[str, Any] = {"name": "Run"}
    if variables:
        step["env"] = variables
    yield step | {"run": run_line(plan, job, "$SHIPWAY_JOB_SHARD")}
    part = "${{ matrix.shard }}" if job.shards > 1 else "1"
    kept = {
        "name": f"shipway.{job.stage}.{part}",
        "path": "\n".join([*plan.made(job), ""]),
        "include-hidden-files": True,
        "if-no-files-found": "ignore",
        "overwrite": True,
        "retention-days": plan.ci.artifact_days,
    }
    yield {"name": "Keep", "if": "${{ !cancelled() }}"} | _uses("actions/upload-artifact", kept)


def _changes_job(plan: CompilePlan) -> dict[str, Any]:
    project = f" --project {plan.folder.rstrip('/')}" if plan.folder else ""
    return {
        "name": CHANGES,
        "if": f"${{{{ ({_EVENTS['pull_request']}) || ({_EVENTS['push']}) }}}}",
        "runs-on": plan.ci.runner,
        "permissions": {"contents": "read"},
        "timeout-minutes": 15,
        "outputs": {"parts": "${{ steps.changed.outputs.parts }}"},
        "steps": [
            _uses("actions/checkout", {"persist-credentials": False, "fetch-depth": 0}),
            _uses("actions/setup-python", {"python-version": plan.ci.python}),
            {"name": "Install", "run": "\n".join([*install_lines(plan), ""])},
            {
                "name": "Compare",
                "id": "changed",
                "env": {"BASE": "${{ github.event.pull_request.base.sha || github.event.before }}"},
                "run": _CHANGED.format(project=project),
            },
        ],
    }


def _uses(action: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"uses": f"{action}@{ACTIONS[action][0]}", "with": options}


def _artifact_root(plan: CompilePlan, job: Job) -> str:
    """Return what the paths in a job's artifact are relative to: the deepest folder above all that was kept."""
    kept = [fixed_part(path) for path in plan.made(job)]
    return (posixpath.commonpath(kept) if len(kept) > 1 else posixpath.dirname(kept[0])) or "."


def _value(variable: str) -> str:
    return "${{ github.token }}" if variable == "GITHUB_TOKEN" else f"${{{{ secrets.{variable} || vars.{variable} }}}}"


def _given(name: str) -> bool:
    return name == "CI" or (name.startswith(_GIVEN) and name != "GITHUB_TOKEN")


def _minutes(job: Job) -> int:
    return math.ceil(job.limit_s / 60)

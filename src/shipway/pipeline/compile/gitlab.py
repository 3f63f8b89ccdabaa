"""The pipeline as a configuration of GitLab CI: jobs of one GitLab stage, ordered by `needs`."""

import math
from collections.abc import Iterator
from typing import Any

from shipway.pipeline.compile.branches import branch_expression
from shipway.pipeline.compile.commands import gpu_labels, header, install_lines, run_line
from shipway.pipeline.compile.plan import CACHE, ID_TOKEN, CompilePlan, Job
from shipway.pipeline.compile.refusals import Refusals
from shipway.pipeline.compile.yaml_text import yaml_text

_STAGE = "shipway"
_RESERVED = frozenset(
    {
        "after_script",
        "before_script",
        "cache",
        "default",
        "false",
        "image",
        "include",
        "nil",
        "pages",
        "services",
        "spec",
        "stages",
        "true",
        "types",
        "variables",
        "workflow",
    }
)
"""What GitLab takes for a setting of its own, or for a job that publishes a site."""
_MOST_NEEDS = 50
_MOST_SHARDS = 200
_LIMIT_S = 30 * 24 * 3600
_BY_HAND = '$CI_PIPELINE_SOURCE =~ /^(web|api|trigger|pipeline)$/ && $SHIPWAY_EVENT {is_update} "model_update"'
_EVENTS = {
    "push": '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH',
    "pull_request": '$CI_PIPELINE_SOURCE == "merge_request_event"',
    "tag": '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_TAG',
    "schedule": '$CI_PIPELINE_SOURCE == "schedule"',
    "manual": _BY_HAND.format(is_update="!="),
    "model_update": _BY_HAND.format(is_update="=="),
}
_BRANCHES = {"pull_request": "$CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "tag": ""}
"""Where the branch of an event stands, when not in CI_COMMIT_BRANCH."""
_OURS = "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID"
_COMPARED = ("push", "pull_request")
"""The events that have something before them to compare with."""


def compile_gitlab(plan: CompilePlan) -> str:
    """Return the configuration.

    Raises:
        ConfigError: it has what GitLab CI cannot say.
    """
    _check(plan)
    document: dict[str, Any] = {
        "workflow": {"rules": [{"if": condition} for condition in _starts(plan)]},
        "stages": [_STAGE],
    }
    for job in plan.jobs:
        document[job.stage] = _job(plan, job)
    return yaml_text(document, header(plan, "gitlab"))


def _check(plan: CompilePlan) -> None:
    refused = Refusals("GitLab CI")
    for job in plan.jobs:
        if job.stage in _RESERVED:
            refused.add(job.stage, "name", "takes a job of this name for something else; rename the stage")
        if len(job.ancestors) > _MOST_NEEDS:
            count = len(job.ancestors)
            refused.add(job.stage, "needs", f"lets a job need {_MOST_NEEDS} others, and this builds on {count}")
        if job.shards > _MOST_SHARDS:
            refused.add(job.stage, "shards", f"makes at most {_MOST_SHARDS} jobs of one")
        if job.limit_s > _LIMIT_S:
            days = job.limit_s // 86400
            refused.add(job.stage, "timeout_s", f"ends a job after a month, and this may take {days} days")
        if job.approval and job.allow_failure:
            refused.add(
                job.stage,
                "allow_failure",
                f"does not wait for the approval of environment {job.environment} when the job may fail",
            )
        for part in job.changed:
            if not plan.parts.get(part):
                refused.add(
                    job.stage, "when.changed", f"compares files, and the project names none that part {part} is made of"
                )
    refused.settle()


def _starts(plan: CompilePlan) -> Iterator[str]:
    for event in plan.events:
        branches = plan.branches if event == "push" else ()
        yield _condition(event, branches)


def _condition(event: str, branches: tuple[str, ...]) -> str:
    if not branches:
        return _EVENTS[event]
    expression = branch_expression(branches, slash=r"\/")
    variable = _BRANCHES.get(event, "$CI_COMMIT_BRANCH")
    # A fork's branches may have any name: `main` of a fork is not ours.
    ours = f" && {_OURS}" if event == "pull_request" else ""
    return f"{_EVENTS[event]}{ours} && {variable} =~ /{expression}/"


def _job(plan: CompilePlan, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {"stage": _STAGE, "image": {"name": job.image or plan.ci.image}}
    tags = gpu_labels(plan, job)
    if tags:
        found["tags"] = list(tags)
    found["needs"] = [
        {"job": need, "artifacts": True} | ({"optional": True} if plan.job(need).conditional else {})
        for need in job.ancestors
    ]
    found["rules"] = list(_rules(plan, job))
    found["timeout"] = f"{math.ceil(job.limit_s / 60)} minutes"
    if job.allow_failure:
        found["allow_failure"] = True
    if job.shards > 1:
        found["parallel"] = job.shards
    if job.environment:
        found["environment"] = {"name": job.environment}
    if job.concurrency:
        found["resource_group"] = job.concurrency
    if job.identity:
        found["id_tokens"] = {ID_TOKEN: {"aud": plan.ci.audience}}
    if job.cached:
        found["cache"] = {"key": f"shipway-{job.stage}", "paths": [f"{plan.folder}{CACHE}/"]}
    found["script"] = [*install_lines(plan, job), run_line(plan, job, "$CI_NODE_INDEX")]
    found["artifacts"] = {
        "when": "always",
        "expire_in": f"{plan.ci.artifact_days} days",
        "paths": list(plan.made(job)),
    }
    return found


def _rules(plan: CompilePlan, job: Job) -> Iterator[dict[str, Any]]:
    how: dict[str, Any] = {"when": "manual", "allow_failure": False} if job.approval else {"when": "on_success"}
    if not job.conditional:
        yield how
        return
    for event in job.events:
        if job.branches and event == "tag":
            # A tag is on no branch.
            continue
        rule: dict[str, Any] = {"if": _condition(event, job.branches)}
        if job.changed and event in _COMPARED:
            paths = [path for part in job.changed for path in plan.parts[part]]
            rule["changes"] = {"paths": list(dict.fromkeys(paths))}
        yield rule | how

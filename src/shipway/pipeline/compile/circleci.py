"""The pipeline as a configuration of CircleCI: one workflow for each event, and for each answer about the branch.

A job of CircleCI that is left out leaves out those that require it; so each workflow holds just the jobs that run, and
what a left-out stage needed is required by those that needed it.
"""

import itertools
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shipway.pipeline.compile.branches import branch_expression
from shipway.pipeline.compile.commands import exit_lines, gpu_labels, header, install_lines, kept_paths, run_line
from shipway.pipeline.compile.plan import CACHE, ID_TOKEN, CompilePlan, Job
from shipway.pipeline.compile.refusals import Refusals
from shipway.pipeline.compile.yaml_text import yaml_text
from shipway.pipeline.patterns import fixed_part

_LIMIT_MIN = 300
_MOST_BRANCH_SETS = 3
_GPU_IMAGE = "linux-cuda-12:default"
_TAG = "<< pipeline.git.tag >>"
_BRANCH = "<< pipeline.git.branch >>"
_SOURCE = "<< pipeline.trigger_source >>"
_EVENT = "<< pipeline.parameters.event >>"
# CircleCI sees the commits of a pull request as pushes.
_PUSHES = frozenset({"push", "pull_request"})
_STARTED: dict[str, list[dict[str, Any]]] = {
    "push": [{"equal": ["webhook", _SOURCE]}, {"equal": ["", _TAG]}],
    "tag": [{"equal": ["webhook", _SOURCE]}, {"not": {"equal": ["", _TAG]}}],
    "schedule": [{"equal": ["scheduled_pipeline", _SOURCE]}],
    "manual": [{"equal": ["api", _SOURCE]}, {"equal": ["manual", _EVENT]}],
    "model_update": [{"equal": ["api", _SOURCE]}, {"equal": ["model_update", _EVENT]}],
}
_ALL_TAGS = {"tags": {"only": "/.*/"}, "branches": {"ignore": "/.*/"}}


@dataclass(frozen=True, slots=True)
class _Case:
    """A circumstance in which the same jobs run: an event, and which sets of branches the branch is one of."""

    event: str
    inside: tuple[tuple[str, ...], ...]
    outside: tuple[tuple[str, ...], ...]

    def has(self, job: Job) -> bool:
        """Whether a job runs then."""
        if self.event == "tag" and job.branches:
            return False
        return self.event in job.events and (not job.branches or job.branches in self.inside)


def compile_circleci(plan: CompilePlan) -> str:
    """Return the configuration.

    Raises:
        ConfigError: it has what CircleCI cannot say.
    """
    _check(plan)
    workflows: dict[str, Any] = {}
    for case in _cases(plan):
        jobs = [job for job in plan.jobs if case.has(job)]
        if jobs:
            name = f"shipway-{case.event}-{_number(workflows, case.event)}"
            workflows[name] = {"when": {"and": _when(case)}, "jobs": list(_required(plan, case, jobs))}
    document = {
        "version": 2.1,
        "parameters": {"event": {"type": "enum", "enum": ["manual", "model_update"], "default": "manual"}},
        "jobs": {job.stage: _job(plan, job) for job in plan.jobs},
        "workflows": workflows,
    }
    return yaml_text(document, header(plan, "circleci"))


def _number(workflows: dict[str, Any], event: str) -> int:
    return 1 + sum(name.startswith(f"shipway-{event}-") for name in workflows)


def _check(plan: CompilePlan) -> None:
    refused = Refusals("CircleCI")
    approvals = {_approval(job) for job in plan.jobs if job.approval}
    needed = {need for job in plan.jobs for need in job.ancestors}
    for job in plan.jobs:
        if job.stage in approvals:
            refused.add(job.stage, "name", "has a job of this name that waits for a person")
        if len(_PUSHES & set(job.events)) == 1:
            refused.add(job.stage, "when.events", "does not tell a pull request from a push")
        if job.changed:
            refused.add(
                job.stage, "when.changed", "chooses its jobs before it checks out, when nothing can be compared"
            )
        if job.shards > 1 and job.stage in needed:
            refused.add(job.stage, "shards", "does not hand on what the parts of one job write to the same files")
        if _minutes(job) > _LIMIT_MIN:
            refused.add(
                job.stage, "timeout_s", f"ends a job after {_LIMIT_MIN} minutes, and this may take {_minutes(job)}"
            )
        _check_machine(refused, plan, job)
    if len(_branch_sets(plan)) > _MOST_BRANCH_SETS:
        names = ", ".join(job.stage for job in plan.jobs if job.branches)
        refused.add(
            names, "when.branches", f"needs a workflow for every answer; {_MOST_BRANCH_SETS} lists are the most"
        )
    refused.settle()


def _check_machine(refused: Refusals, plan: CompilePlan, job: Job) -> None:
    if job.resources.gpus and len(gpu_labels(plan, job)) != 1:
        refused.add(job.stage, "resources.gpus", "knows GPUs by one resource class; give it in ci.gpu_runners")
    if job.resources.gpus and job.image:
        refused.add(job.stage, "image", "runs GPU jobs on a machine and not in an image")
    for path in job.files:
        if not fixed_part(path.removeprefix(plan.folder)):
            refused.add(job.stage, "outputs", f"keeps files and folders, and {path!r} begins with a wildcard")


def _branch_sets(plan: CompilePlan) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(job.branches for job in plan.jobs if job.branches))


def _cases(plan: CompilePlan) -> Iterator[_Case]:
    for event in plan.events:
        if event == "pull_request":
            continue
        asked = [] if event == "tag" else _branch_sets(plan)
        for answers in itertools.product((True, False), repeat=len(asked)):
            inside = tuple(branches for branches, answer in zip(asked, answers, strict=True) if answer)
            yield _Case(event, inside, tuple(branches for branches in asked if branches not in inside))


def _when(case: _Case) -> list[dict[str, Any]]:
    said = [{"matches": {"pattern": branch_expression(branches), "value": _BRANCH}} for branches in case.inside]
    unsaid = [
        {"not": {"matches": {"pattern": branch_expression(branches), "value": _BRANCH}}} for branches in case.outside
    ]
    return [*_STARTED[case.event], *said, *unsaid]


def _required(plan: CompilePlan, case: _Case, jobs: list[Job]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        found: dict[str, Any] = {}
        needs = _needs(plan, case, job)
        if needs:
            found["requires"] = needs
        if case.event == "tag":
            found["filters"] = _ALL_TAGS
        if job.approval:
            yield {_approval(job): {"type": "approval"} | found}
            found = found | {"requires": [*needs, _approval(job)]}
        if job.environment:
            found["context"] = [job.environment]
        if job.concurrency:
            found["serial-group"] = f"<< pipeline.project.slug >>/{job.concurrency}"
        yield {job.stage: found}


def _needs(plan: CompilePlan, case: _Case, job: Job) -> list[str]:
    """Return what a job requires: what it needs, and in the place of left-out stages what those need."""
    found: dict[str, None] = {}
    waiting = list(reversed(job.needs))
    while waiting:
        need = plan.job(waiting.pop())
        if case.has(need):
            found[need.stage] = None
        else:
            waiting += reversed(need.needs)
    return list(found)


def _approval(job: Job) -> str:
    return f"approve-{job.stage}"


def _job(plan: CompilePlan, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if job.resources.gpus:
        found |= {"machine": {"image": _GPU_IMAGE}, "resource_class": gpu_labels(plan, job)[0]}
    else:
        found["docker"] = [{"image": job.image or plan.ci.image}]
    if job.shards > 1:
        found["parallelism"] = job.shards
    return found | {"steps": list(_steps(plan, job))}


def _steps(plan: CompilePlan, job: Job) -> Iterator[Any]:
    yield "checkout"
    if job.ancestors:
        yield {"attach_workspace": {"at": "."}}
    cache = f"shipway-{job.stage}-"
    if job.cached:
        yield {"restore_cache": {"keys": [cache]}}
    yield {"run": {"name": "Install", "command": "\n".join([*install_lines(plan, job), ""])}}
    yield {
        "run": {
            "name": "Run",
            "command": "\n".join([*_script(plan, job), ""]),
            # The runner itself ends the stage; a silent one must not be ended before.
            "no_output_timeout": f"{_minutes(job)}m",
        }
    }
    if job.cached:
        yield {"save_cache": {"key": f"{cache}{{{{ .Revision }}}}", "paths": [plan.folder + CACHE]}}
    yield {"persist_to_workspace": {"root": ".", "paths": kept_paths(plan, job)}}
    for path in kept_paths(plan, job):
        yield {"store_artifacts": {"path": path}}


def _script(plan: CompilePlan, job: Job) -> Iterator[str]:
    if job.identity:
        claims = shlex.quote(json.dumps({"aud": plan.ci.audience}))
        yield f'export {ID_TOKEN}="$(circleci run oidc get --claims {claims})"'
    if job.shards > 1:
        # Parts count from 0 here.
        yield 'part="$((CIRCLE_NODE_INDEX + 1))"'
    yield "code=0"
    yield f'{run_line(plan, job, "$part")} || code="$?"'
    yield from exit_lines(job)


def _minutes(job: Job) -> int:
    return math.ceil(job.limit_s / 60)

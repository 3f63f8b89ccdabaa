"""The pipeline as a WorkflowTemplate of Argo Workflows, with a CronWorkflow when it has a schedule.

Who submits it says what started it: the parameters `event`, `branch`, `changed` and `revision`.
"""

import shlex
from collections.abc import Iterator
from typing import Any

from shipway.pipeline.compile.branches import branch_expression
from shipway.pipeline.compile.commands import exit_lines, header, install_lines, kept_paths, run_line
from shipway.pipeline.compile.plan import ID_TOKEN, CompilePlan, Job
from shipway.pipeline.compile.refusals import Refusals
from shipway.pipeline.compile.yaml_text import yaml_text
from shipway.pipeline.patterns import fixed_part

NAME = "shipway"
UNKNOWN = "unknown"
"""What `changed` is when nobody knows."""
_API = "argoproj.io/v1alpha1"
_SOURCE, _HANDED, _KEPT = "/shipway/source", "/shipway/handed", "/shipway/kept"
_IDENTITY = "/var/run/shipway"
_APPROVAL = "approval"
_ENTRY = "pipeline"
_SECRET = "shipway-ci"  # noqa: S105 - the name of a Kubernetes secret
_IDENTITY_S = 3600


def compile_argo(plan: CompilePlan) -> str:
    """Return the manifests.

    Raises:
        ConfigError: it has what Argo Workflows cannot say.
    """
    _check(plan)
    text = yaml_text(_template(plan), header(plan, "argo"))
    return f"{text}---\n{yaml_text(_schedule(plan), '')}" if plan.ci.schedule else text


def _check(plan: CompilePlan) -> None:
    refused = Refusals("Argo Workflows")
    taken: dict[str, str] = {_ENTRY: "the pipeline itself", _APPROVAL: "the step that waits for a person"}
    if not plan.ci.repository:
        refused.add_setting("repository", "does not know what to check out; give the address to clone")
    for job in plan.jobs:
        for name in _own_names(job):
            if name in taken:
                refused.add(job.stage, "name", f"knows {name} already: it is {taken[name]}")
            taken[name] = f"of stage {job.stage}"
        if job.resources.gpus and job.resources.gpu_type and _product(plan, job) is None:
            refused.add(
                job.stage, "resources.gpu_type", "chooses a node by one GPU product; give one label in ci.gpu_runners"
            )
        for path in job.files:
            if not fixed_part(path.removeprefix(plan.folder)):
                refused.add(job.stage, "outputs", f"keeps files and folders, and {path!r} begins with a wildcard")
    refused.settle()


def _own_names(job: Job) -> list[str]:
    names = [_name(job.stage), *([_approval(job)] if job.approval else [])]
    return [*names, *(_tasks(job) if job.shards > 1 else ())]


def _name(stage: str) -> str:
    """Return the name of a stage as Argo takes it: without underscores."""
    return stage.replace("_", "-")


def _approval(job: Job) -> str:
    return f"approve-{_name(job.stage)}"


def _tasks(job: Job) -> list[str]:
    """Return the tasks of a job: one for each shard."""
    name = _name(job.stage)
    return [f"{name}-{part}-of-{job.shards}" for part in range(1, job.shards + 1)] if job.shards > 1 else [name]


def _template(plan: CompilePlan) -> dict[str, Any]:
    tasks = [task for job in plan.jobs for task in _dag_tasks(plan, job)]
    templates: list[dict[str, Any]] = [{"name": _ENTRY, "dag": {"failFast": False, "tasks": tasks}}]
    if any(job.approval for job in plan.jobs):
        templates.append({"name": _APPROVAL, "suspend": {}})
    return {
        "apiVersion": _API,
        "kind": "WorkflowTemplate",
        "metadata": {"name": NAME},
        "spec": {
            "entrypoint": _ENTRY,
            "arguments": {"parameters": _parameters(plan)},
            # What a stage runs has no rights in the cluster; only Argo's own helper beside it has.
            "automountServiceAccountToken": False,
            "executor": {"serviceAccountName": "shipway-executor"},
            "serviceAccountName": NAME,
            "ttlStrategy": {"secondsAfterCompletion": plan.ci.artifact_days * 86400},
            "artifactGC": {"strategy": "OnWorkflowDeletion"},
            "templates": [*templates, *(_container(plan, job) for job in plan.jobs)],
        },
    }


def _parameters(plan: CompilePlan) -> list[dict[str, Any]]:
    return [
        {"name": "repository", "value": plan.ci.repository},
        {"name": "revision", "value": _branch(plan)},
        {"name": "event", "value": "manual", "enum": list(plan.events)},
        {"name": "branch", "value": _branch(plan)},
        {"name": "changed", "value": UNKNOWN},
    ]


def _branch(plan: CompilePlan) -> str:
    """Return the first branch that is one and no pattern."""
    return next((branch for branch in plan.branches if "*" not in branch and "?" not in branch), "main")


def _schedule(plan: CompilePlan) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": "CronWorkflow",
        "metadata": {"name": NAME},
        "spec": {
            "schedules": [plan.ci.schedule],
            "concurrencyPolicy": "Forbid",
            "workflowSpec": {
                "workflowTemplateRef": {"name": NAME},
                "arguments": {"parameters": [{"name": "event", "value": "schedule"}]},
            },
        },
    }


def _dag_tasks(plan: CompilePlan, job: Job) -> Iterator[dict[str, Any]]:
    needed = [task for need in job.needs for task in _tasks(plan.job(need))]
    condition = _condition(job)
    if job.approval:
        yield _task(_approval(job), _APPROVAL, needed, condition)
        needed.append(_approval(job))
    for part, name in enumerate(_tasks(job), 1):
        task = _task(name, _name(job.stage), needed, condition)
        given: dict[str, Any] = {}
        if job.shards > 1:
            given["parameters"] = [{"name": "shard", "value": str(part)}]
        handed = [
            {"name": task_name, "from": f"{{{{tasks.{task_name}.outputs.artifacts.kept}}}}", "optional": True}
            for need in job.ancestors
            for task_name in _tasks(plan.job(need))
        ]
        if handed:
            given["artifacts"] = handed
        yield task | ({"arguments": given} if given else {})


def _task(name: str, template: str, needed: list[str], condition: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "template": template}
    if needed:
        # A task whose own needs failed is neither: it was omitted.
        found["depends"] = " && ".join(f"({task}.Succeeded || {task}.Skipped)" for task in needed)
    if condition:
        found["when"] = condition
    return found


def _condition(job: Job) -> str:
    """Return an expression over the parameters, which are values in it and never become a part of its text."""
    asked = []
    if job.limited:
        asked.append(f"workflow.parameters.event in [{', '.join(repr(event) for event in job.events)}]")
    if job.branches:
        expression = branch_expression(job.branches).replace("\\", "\\\\")
        asked.append("workflow.parameters.event != 'tag' && workflow.parameters.branch != ''")
        asked.append(f"workflow.parameters.branch matches '{expression}'")
    if job.changed:
        parts = [f"workflow.parameters.changed == '{UNKNOWN}'"]
        parts += [f"workflow.parameters.changed contains '{part}'" for part in job.changed]
        asked.append(f"({' || '.join(parts)})")
    return f"{{{{= {' && '.join(asked)} }}}}" if asked else ""


def _container(plan: CompilePlan, job: Job) -> dict[str, Any]:
    handed = [
        {"name": task, "path": f"{_HANDED}/{task}", "optional": True}
        for need in job.ancestors
        for task in _tasks(plan.job(need))
    ]
    where = {"repo": "{{workflow.parameters.repository}}", "revision": "{{workflow.parameters.revision}}"}
    inputs: dict[str, Any] = {"artifacts": [{"name": "source", "path": _SOURCE, "git": where}, *handed]}
    if job.shards > 1:
        inputs["parameters"] = [{"name": "shard"}]
    found: dict[str, Any] = {"name": _name(job.stage)}
    if job.environment:
        found["metadata"] = {"annotations": {"shipway-environment": job.environment}}
    found |= {"inputs": inputs, "activeDeadlineSeconds": job.limit_s}
    if job.concurrency:
        found["synchronization"] = {"mutexes": [{"name": job.concurrency}]}
    product = _product(plan, job)
    if product:
        found["nodeSelector"] = {"nvidia.com/gpu.product": product}
    if job.identity:
        token = {"path": "token", "audience": plan.ci.audience, "expirationSeconds": _IDENTITY_S}
        found["volumes"] = [{"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}]
    found["container"] = _main(plan, job)
    found["outputs"] = {"artifacts": [{"name": "kept", "path": _KEPT, "optional": True}]}
    return found


def _product(plan: CompilePlan, job: Job) -> str | None:
    """Return the GPU product that a node must have; None for any, or when there is more than one."""
    kind = job.resources.gpu_type
    if not job.resources.gpus or not kind:
        return None
    given = plan.ci.gpu_runners.get(f"{kind}:{job.resources.gpus}") or plan.ci.gpu_runners.get(kind) or (kind,)
    return given[0] if len(given) == 1 else None


def _main(plan: CompilePlan, job: Job) -> dict[str, Any]:
    variables: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": _SECRET, "key": name, "optional": True}}}
        for name in job.variables
    ]
    if job.shards > 1:
        variables.append({"name": "SHIPWAY_JOB_SHARD", "value": "{{inputs.parameters.shard}}"})
    wanted: dict[str, Any] = {"requests": {"cpu": f"{job.resources.cpus:g}"}}
    if job.resources.memory_mb:
        wanted["requests"]["memory"] = f"{job.resources.memory_mb}M"
    if job.resources.gpus:
        wanted["limits"] = {"nvidia.com/gpu": str(job.resources.gpus)}
    found: dict[str, Any] = {
        "image": job.image or plan.ci.image,
        "command": ["sh", "-euc"],
        "args": ["\n".join([*_script(plan, job), ""])],
        "workingDir": _SOURCE,
    }
    if variables:
        found["env"] = variables
    if job.identity:
        found["volumeMounts"] = [{"name": "identity", "mountPath": _IDENTITY, "readOnly": True}]
    return found | {"resources": wanted}


def _script(plan: CompilePlan, job: Job) -> Iterator[str]:
    if job.ancestors:
        yield f'for handed in {_HANDED}/*; do if [ -d "$handed" ]; then cp -R "$handed/." .; fi; done'
    yield from install_lines(plan, job)
    if job.identity:
        yield f'export {ID_TOKEN}="$(cat {_IDENTITY}/token)"'
    yield "code=0"
    yield f'{run_line(plan, job, "$SHIPWAY_JOB_SHARD")} || code="$?"'
    yield f"for kept in {' '.join(shlex.quote(path) for path in kept_paths(plan, job))}; do"
    yield f'  above="{_KEPT}/$(dirname "$kept")"'
    yield '  if [ -e "$kept" ]; then mkdir -p "$above"; cp -R "$kept" "$above/"; fi'
    yield "done"
    yield from exit_lines(job)

"""The pipeline as a declarative Jenkinsfile for a multibranch project.

Jenkins knows sequences and parallel stages, no graph: stages run in levels, each as soon as all levels before it have
ended, and a stage only when nothing that it builds on has failed. Stages with an image, a group or variables need the
plug-ins Docker Pipeline, Lockable Resources and Credentials Binding.
"""

import math
from collections.abc import Iterable, Iterator

from shipway.pipeline.compile.branches import branch_expression
from shipway.pipeline.compile.commands import gpu_labels, header, install_lines, run_line
from shipway.pipeline.compile.plan import CompilePlan, Job
from shipway.pipeline.compile.refusals import Refusals

_INDENT = "    "
# Text that Groovy leaves alone.
_QUOTES = "'''"
_FUNCTIONS = r"""
// What has not passed, of the stages that were started and must pass.
@Field List failed = []

boolean free(List needs) {
    return !needs.any { failed.contains(it) }
}

String event() {
    if (env.TAG_NAME) { return 'tag' }
    if (env.CHANGE_ID) { return 'pull_request' }
    if (currentBuild.getBuildCauses('hudson.triggers.TimerTrigger$TimerTriggerCause')) { return 'schedule' }
    if (currentBuild.getBuildCauses('hudson.model.Cause$UserIdCause')) { return params.EVENT ?: 'manual' }
    return 'push'
}

String branch() {
    // A fork's branches may have any name: `main` of a fork is not ours.
    if (env.TAG_NAME || env.CHANGE_FORK) { return '' }
    return env.CHANGE_BRANCH ?: env.BRANCH_NAME ?: ''
}

boolean started() {
    return event() != 'push' || branch() ==~ STARTS
}
"""


def compile_jenkins(plan: CompilePlan) -> str:
    """Return the Jenkinsfile.

    Raises:
        ConfigError: it has what Jenkins cannot say.
    """
    _check(plan)
    head = "".join(f"// {line}\n" for line in header(plan, "jenkins").splitlines())
    starts = _pattern(plan.branches)
    functions = _FUNCTIONS.replace("STARTS", starts)
    return "\n".join([head + "import groovy.transform.Field", functions, *_pipeline(plan), ""])


def _check(plan: CompilePlan) -> None:
    refused = Refusals("Jenkins")
    for job in plan.jobs:
        if job.changed:
            refused.add(job.stage, "when.changed", "does not say what a build compares with")
        if job.identity:
            refused.add(job.stage, "env", "gives no identity tokens by itself; use a credential of its own")
    refused.settle()


def _pipeline(plan: CompilePlan) -> Iterator[str]:
    yield "pipeline {"
    yield from _inside(_settings(plan))
    yield f"{_INDENT}stages {{"
    for number, level in enumerate(_levels(plan), 1):
        branches = [line for job in level for line in _branches(plan, job)]
        yield from _inside([f"stage('level {number}') {{", *_inside(["parallel {", *_inside(branches), "}"]), "}"], 2)
    yield f"{_INDENT}}}"
    yield "}"


def _settings(plan: CompilePlan) -> Iterator[str]:
    yield "agent none"
    yield "options {"
    yield f"{_INDENT}skipDefaultCheckout()"
    yield f"{_INDENT}buildDiscarder(logRotator(artifactDaysToKeepStr: '{plan.ci.artifact_days}'))"
    yield "}"
    yield "parameters {"
    yield f"{_INDENT}choice(name: 'EVENT', choices: ['manual', 'model_update'], description: 'What happened')"
    yield "}"
    if plan.ci.schedule:
        yield "triggers {"
        yield f"{_INDENT}cron('TZ=UTC\\n{plan.ci.schedule}')"
        yield "}"


def _levels(plan: CompilePlan) -> list[list[Job]]:
    """Return the jobs by how many others are before them on the longest way."""
    depth: dict[str, int] = {}
    for job in plan.jobs:
        depth[job.stage] = 1 + max((depth[need] for need in job.needs), default=0)
    return [[job for job in plan.jobs if depth[job.stage] == level] for level in range(1, max(depth.values()) + 1)]


def _branches(plan: CompilePlan, job: Job) -> Iterator[str]:
    for part in range(1, job.shards + 1):
        name = f"{job.stage} {part}/{job.shards}" if job.shards > 1 else job.stage
        yield f"stage('{name}') {{"
        yield from _inside(_stage(plan, job, name, part))
        yield "}"


def _stage(plan: CompilePlan, job: Job, name: str, part: int) -> Iterator[str]:
    # Asked before a machine is taken, and before a person is.
    yield "when {"
    yield f"{_INDENT}beforeAgent true"
    yield f"{_INDENT}beforeInput true"
    yield f"{_INDENT}beforeOptions true"
    yield f"{_INDENT}expression {{ started() && free({_list(job.ancestors)}){_condition(job)} }}"
    yield "}"
    if job.approval:
        yield f"input {{ message '{name}: go on to {job.environment}?' }}"
    if job.concurrency:
        yield f"options {{ lock(resource: '{job.concurrency}') }}"
    label = " && ".join(gpu_labels(plan, job)) or plan.ci.runner
    if job.image:
        yield f"agent {{ docker {{ image '{job.image}'; label '{label}' }} }}"
    else:
        yield f"agent {{ label '{label}' }}"
    yield from _environment(job, part)
    yield "steps {"
    yield from _inside(["script {", *_inside(_script(plan, job, part)), "}"])
    yield "}"


def _environment(job: Job, part: int) -> Iterator[str]:
    values = {name: f"credentials('{name}')" for name in job.variables}
    if job.shards > 1:
        values["SHIPWAY_JOB_SHARD"] = f"'{part}'"
    if values:
        yield "environment {"
        yield from (f"{_INDENT}{name} = {value}" for name, value in values.items())
        yield "}"


def _script(plan: CompilePlan, job: Job, part: int) -> Iterator[str]:
    if job.allow_failure:
        # Nothing waits for it to pass.
        yield "catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE') {"
        yield from _inside(_timed(plan, job, part))
    else:
        yield f"failed.add('{job.stage}')"
        yield "catchError(buildResult: 'FAILURE', stageResult: 'FAILURE') {"
        yield from _inside([*_timed(plan, job, part), f"failed.remove('{job.stage}')"])
    yield "}"


def _timed(plan: CompilePlan, job: Job, part: int) -> Iterator[str]:
    yield f"timeout(time: {math.ceil(job.limit_s / 60)}, unit: 'MINUTES') {{"
    yield from _inside(["deleteDir()", "checkout(scm)", *_fetched(plan, job), "try {"])
    yield from _inside([f"sh {_QUOTES}", *_shell(plan, job), _QUOTES], 2)
    yield f"{_INDENT}}} finally {{"
    kept = ",".join(plan.made(job))
    yield from _inside(
        [
            f"stash(name: '{job.stage}.{part}', includes: '{kept}', allowEmpty: true, useDefaultExcludes: false)",
            f"archiveArtifacts(artifacts: '{kept}', allowEmptyArchive: true, defaultExcludes: false)",
        ],
        2,
    )
    yield f"{_INDENT}}}"
    yield "}"


def _fetched(plan: CompilePlan, job: Job) -> Iterator[str]:
    for need in job.ancestors:
        for part in range(1, plan.job(need).shards + 1):
            # One that was left out has left nothing.
            yield "catchError(buildResult: 'SUCCESS', stageResult: 'SUCCESS') {"
            yield f"{_INDENT}unstash('{need}.{part}')"
            yield "}"


def _shell(plan: CompilePlan, job: Job) -> list[str]:
    venv = ["set -eu", "python3 -m venv .venv", 'PATH="$PWD/.venv/bin:$PATH"']
    return [*venv, *install_lines(plan, job), run_line(plan, job, "$SHIPWAY_JOB_SHARD")]


def _condition(job: Job) -> str:
    said = f" && event() in {_list(job.events)}" if job.limited else ""
    return said + (f" && branch() && branch() ==~ {_pattern(job.branches)}" if job.branches else "")


def _pattern(branches: tuple[str, ...]) -> str:
    return f"/{branch_expression(branches, slash=chr(92) + '/').removeprefix('^').removesuffix('$')}/"


def _list(words: tuple[str, ...]) -> str:
    return f"[{', '.join(repr(word) for word in words)}]"


def _inside(lines: Iterable[str], levels: int = 1) -> Iterator[str]:
    for line in lines:
        yield f"{_INDENT * levels}{line}" if line else line

"""The few shell lines that jobs are made of: the same for every CI system."""

import shlex

from shipway.pipeline.compile.plan import CompilePlan, Job
from shipway.pipeline.patterns import fixed_part

ANOTHER_PLAN = 2
"""The exit code of a job whose plan is another one; no permission to fail covers that."""


def install_lines(plan: CompilePlan, job: Job | None = None) -> list[str]:
    """Return the lines that install what the project asks for, then the version of Shipway that compiled the file.

    A job that asks models gets what asks them, and the project's embedded models.
    """
    asks = job is not None and job.asks
    wanted = [f"-r {shlex.quote(plan.folder + path)}" for path in plan.ci.requirements]
    lines = [f"python -m pip install {' '.join(wanted)}"] if wanted else []
    shipway = f"shipway[local]=={plan.version}" if asks else f"shipway=={plan.version}"
    models = ["shipway models install"] if asks and plan.models else []
    return [*lines, f"python -m pip install {shlex.quote(shipway)}", *models]


def run_line(plan: CompilePlan, job: Job, shard: str = "") -> str:
    """Return the line that runs a stage; `shard` is the shell's word for which part this is."""
    words = ["shipway", "pipeline", "run-stage", job.stage, "--plan-digest", plan.digest]
    if job.shards > 1:
        words += ["--shard", f'"{shard}/{job.shards}"']
    if plan.folder:
        words += ["--project", shlex.quote(plan.folder.rstrip("/"))]
    return " ".join(words)


def gpu_labels(plan: CompilePlan, job: Job) -> tuple[str, ...]:
    """Return the labels of a runner with the graphics processors that a job needs; empty when it needs none."""
    wanted = job.resources
    if not wanted.gpus:
        return ()
    kind = wanted.gpu_type or "any"
    given = plan.ci.gpu_runners.get(f"{kind}:{wanted.gpus}") or (
        plan.ci.gpu_runners.get(kind) if wanted.gpus == 1 else None
    )
    if given:
        return given
    number = (f"gpus-{wanted.gpus}",) if wanted.gpus > 1 else ()
    return tuple(filter(None, ("gpu", wanted.gpu_type, *number)))


def header(plan: CompilePlan, target: str, more: str = "") -> str:
    """Return what stands above every compiled file."""
    return (
        f"Written by `shipway pipeline compile {target}{more}`; change shipway.yaml and compile again.\n"
        f"Plan {plan.digest}"
    )


def kept_paths(plan: CompilePlan, job: Job) -> list[str]:
    """Return the files and folders that hold what a job hands on, for systems that do not know our patterns."""
    return list(dict.fromkeys(fixed_part(path) for path in plan.made(job)))


def exit_lines(job: Job) -> list[str]:
    """Return the lines that end a job with the exit code in `code`, where the system has no permission to fail."""
    allowed = [f'if [ "$code" -ne {ANOTHER_PLAN} ]; then code=0; fi'] if job.allow_failure else []
    return [*allowed, 'exit "$code"']

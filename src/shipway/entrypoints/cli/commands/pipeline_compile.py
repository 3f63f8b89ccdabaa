"""`shipway pipeline compile|changed`: the files of CI systems, and what their jobs ask about a change."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from shipway import __version__
from shipway.core.disk import explained
from shipway.core.errors import ConfigError, UsageError
from shipway.entrypoints.builtin_stages import catalogue
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.cli.pipeline_options import changes
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.entrypoints.wiring import load
from shipway.pipeline.compile.github import compile_github
from shipway.pipeline.compile.plan import CompilePlan, reusable
from shipway.pipeline.compile.targets import targets
from shipway.services.pipeline_compile import Compiled, compiled, project_plan, repository_root

_TARGETS = ", ".join(targets())
_DRIFTED = 1


def compile_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=f"The CI system: {_TARGETS}.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file; - prints it. By default where it belongs.")
    ] = "",
    reused: Annotated[
        str,
        typer.Option(
            "--reusable", metavar="STAGE", help="github: a workflow for others to call, with STAGE and what it needs."
        ),
    ] = "",
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say what has drifted, exit code 1.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the pipeline as the file of a CI system, whose jobs only check out, install and call `run-stage`.

    Exit code: 1 when --check finds that the file is not what the pipeline compiles to; 2 when the system cannot say it.
    """
    del debug
    known = targets()
    if target not in known:
        raise UsageError(f"there is no target {target!r}", hint=f"there are {_TARGETS}")
    if reused and target != "github":
        raise UsageError(f"--reusable: {target} has no workflows that others call", hint="leave it out, or use github")
    found = Pipelines.of(load(project))
    repository = repository_root(found.loaded.root)
    write, path = known[target].write, known[target].path
    with _placed(found):
        plan = project_plan(found.loaded, found.graph, __version__, repository, catalogue())
    if reused:
        plan, path = reusable(plan, reused), f".github/workflows/shipway-{reused}.yml"

        def write(plan: CompilePlan) -> str:
            return compile_github(plan, reused)

    with _placed(found):
        if output == "-":
            sys.stdout.write(write(plan))
            return
        result = compiled(plan, write, Path(output) if output else repository / path)
    _finish(target, result, check=check, as_json=as_json)


@contextmanager
def _placed(found: Pipelines) -> Iterator[None]:
    """Say of each thing that a CI system cannot say where it stands, or how to write it down where it stands nowhere.

    Raises:
        ConfigError: with all of them.
    """
    try:
        yield
    except ConfigError as error:
        if found.derived is not None:
            hint = (
                "the pipeline is derived: `shipway pipeline init --write` writes its stages into the project file,"
                " where they can be changed; or compile for a CI system that can say this"
            )
            raise ConfigError(error.problems, hint=hint) from error
        raise ConfigError([_with_place(found, problem) for problem in error.problems], hint=error.hint) from error


def _with_place(found: Pipelines, problem: str) -> str:
    key = problem.partition(":")[0]
    return f"{found.loaded.nearest_place(tuple(key.split('.')))}: {problem}" if key else problem


def _finish(target: str, result: Compiled, *, check: bool, as_json: bool) -> None:
    jobs = [job.stage for job in result.plan.jobs]
    body = {
        "target": target,
        "file": str(result.path),
        "plan": result.plan.digest,
        "jobs": jobs,
        "drifted": list(result.drifted),
        "written": bool(result.drifted) and not check,
    }
    if check:
        lines = [f"{result.path} is not what the pipeline compiles to:", *(f"  {said}" for said in result.drifted)]
        lines += [f"write it again: `shipway pipeline compile {target}`"]
        emit(body, lines if result.drifted else [f"{result.path} is what the pipeline compiles to"], as_json=as_json)
        raise typer.Exit(_DRIFTED if result.drifted else 0)
    if result.drifted:
        with explained(result.path, "cannot be written"):
            result.path.parent.mkdir(parents=True, exist_ok=True)
            result.path.write_text(result.text, encoding="utf-8", newline="\n")
    done = "written" if result.drifted else "is up to date"
    emit(body, [f"{result.path} {done}: {len(jobs)} jobs, plan {result.plan.digest}"], as_json=as_json)


def changed_(
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="COMMIT",
            help="The commit to compare the checkout with; `released`: that of the stable release.",
        ),
    ],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the parts of the release that changed since a commit; all of them when git does not know the commit."""
    del debug
    found = changes(load(project), since)
    body = {"since": since, "commit": found.commit, "parts": list(found.parts), "known": found.known}
    emit(body, [",".join(found.parts)], as_json=as_json)

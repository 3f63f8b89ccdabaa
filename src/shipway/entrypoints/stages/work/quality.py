"""The stages that look at code: each runs one program over files and reads what it says."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio

from shipway.config.sections.section import Section
from shipway.entrypoints.stages import quality as options
from shipway.entrypoints.stages.work.checking import Check, checked, finished, tool_runner
from shipway.entrypoints.stages.work.infrastructure import infrastructure_report
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tools import bandit, black, detect_secrets, interrogate, mypy, pip_audit, radon, ruff

_Options = TypeVar("_Options", bound=Section)


def _mending(argv: Callable[..., Sequence[str]]) -> Callable[[Mapping[str, Any]], Sequence[str]]:
    def call(given: Mapping[str, Any]) -> Sequence[str]:
        wanted = options.Checked.model_validate(dict(given))
        return argv(wanted.paths, wanted.arguments, fix=True)

    return call


MENDING: Mapping[str, Callable[[Mapping[str, Any]], Sequence[str]]] = {
    "lint": _mending(ruff.lint_argv),
    "format": _mending(ruff.format_argv),
    "black": _mending(black.argv),
}
"""The stages whose programs can mend what they find, with the call that does."""


def lint(project: Path | None) -> BuiltinStage:
    """Return the stage that lints."""
    return _stage(project, options.Checked, lambda o: Check(ruff.LINT, ruff.lint_argv(o.paths, o.arguments)))


def formatted(project: Path | None) -> BuiltinStage:
    """Return the stage that looks whether code is formatted."""
    return _stage(project, options.Checked, lambda o: Check(ruff.LINT, ruff.format_argv(o.paths, o.arguments)))


def black_formatted(project: Path | None) -> BuiltinStage:
    """Return the stage that looks whether code is formatted as black formats it."""
    return _stage(project, options.Checked, lambda o: Check(black.BLACK, black.argv(o.paths, o.arguments)))


def types(project: Path | None) -> BuiltinStage:
    """Return the stage that checks types."""
    return _stage(project, options.Types, lambda o: Check(mypy.MYPY, mypy.argv(o.paths, o.arguments)))


def security(project: Path | None) -> BuiltinStage:
    """Return the stage that looks for what makes code insecure."""
    return _stage(
        project, options.Security, lambda o: Check(bandit.tool(o.fail_on), bandit.argv(o.paths, o.exclude, o.arguments))
    )


def complexity(project: Path | None) -> BuiltinStage:
    """Return the stage that measures functions by ruff."""
    return _stage(
        project, options.Complexity, lambda o: Check(ruff.LINT, ruff.complexity_argv(o.paths, o.most, o.arguments))
    )


def radon_complexity(project: Path | None) -> BuiltinStage:
    """Return the stage that measures functions by radon."""
    return _stage(project, options.Complexity, lambda o: Check(radon.tool(o.most), radon.argv(o.paths, o.exclude)))


def docs(project: Path | None) -> BuiltinStage:
    """Return the stage that looks at docstrings."""
    return _stage(project, options.Docs, lambda o: Check(ruff.LINT, ruff.docs_argv(o.paths, o.select, o.exclude)))


def interrogated(project: Path | None) -> BuiltinStage:
    """Return the stage that measures how much has a docstring."""
    return _stage(
        project,
        options.Interrogate,
        lambda o: Check(interrogate.INTERROGATE, interrogate.argv(o.paths, o.least_percent, o.arguments)),
    )


def dependencies(project: Path | None) -> BuiltinStage:
    """Return the stage that looks for known vulnerabilities."""
    return _stage(
        project,
        options.Dependencies,
        lambda o: Check(pip_audit.tool(o.own, o.ignore), pip_audit.argv(o.requirements, o.arguments)),
    )


def secrets(project: Path | None) -> BuiltinStage:
    """Return the stage that looks for keys and passwords."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Secrets.model_validate(dict(stage.with_))
        baseline = anyio.Path(root / detect_secrets.BASELINE)
        known = await baseline.read_bytes() if await baseline.is_file() else None
        argv = detect_secrets.argv(wanted.paths, wanted.exclude, all_files=wanted.all_files)
        check = Check(detect_secrets.tool(known), argv, max_findings=wanted.max_findings)
        report, _ = await checked(tool_runner(root, stage, context), stage.name, check)
        return await finished(root, stage, context, report)

    return run


def infrastructure(project: Path | None) -> BuiltinStage:
    """Return the stage that looks at what the application is deployed with."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Infrastructure.model_validate(dict(stage.with_))
        report = await infrastructure_report(tool_runner(root, stage, context), stage.name, wanted)
        return await finished(root, stage, context, report)

    return run


def _stage(project: Path | None, options_of: type[_Options], check_of: Callable[[_Options], Check]) -> BuiltinStage:
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted: Any = options_of.model_validate(dict(stage.with_))
        check = check_of(wanted)
        limited = Check(check.tool, check.argv, check.variables, wanted.max_findings)
        report, _ = await checked(tool_runner(root, stage, context), stage.name, limited)
        return await finished(root, stage, context, report)

    return run

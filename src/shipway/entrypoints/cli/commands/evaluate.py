"""`shipway eval`: evaluate a release and gate it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.response_cache.sqlite import opened_cache
from shipway.core.disk import require_writable_file
from shipway.core.errors import GateRefusedError, UnavailableError, UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli import eval_options as options
from shipway.entrypoints.cli.commands.eval_attribute import attribute
from shipway.entrypoints.cli.commands.eval_cache import group as cache
from shipway.entrypoints.cli.commands.eval_contract import contract
from shipway.entrypoints.cli.commands.eval_matrix import matrix
from shipway.entrypoints.cli.commands.eval_perf import perf
from shipway.entrypoints.cli.commands.eval_report import report
from shipway.entrypoints.cli.commands.eval_runs import merge, rescore
from shipway.entrypoints.cli.commands.eval_smoke import smoke
from shipway.entrypoints.cli.commands.eval_tool import group as tool
from shipway.entrypoints.cli.evaluation_output import estimate_lines, estimate_value, finish
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.cli.progress import evaluation_progress
from shipway.entrypoints.evaluation_parts import cache_file, evaluation_targets, target_parts
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.evals.budget import Estimate
from shipway.services.application import Application
from shipway.services.evaluations import (
    Evaluation,
    EvaluationParts,
    EvaluationRequest,
    comparable_runs,
    estimated,
    evaluate,
    stored_run,
)
from shipway.services.runs import compared_runs
from shipway.services.targets.choosing import choose_target, unknown_cases

group = command_group("Evaluate a release and gate it.")
_SHOWN_CASES = 5


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of `eval run`."""

    project: Path | None
    request: EvaluationRequest
    target: str
    shown: bool

    async def estimate(self) -> Estimate:
        async with opened(self.project) as app, self._requested(app) as request, evaluation_targets(app) as targets:
            return await estimated(app, request, targets)

    def evaluate(self) -> Evaluation:
        begun: list[Path] = []
        try:
            return anyio.run(self._evaluate, begun)
        except KeyboardInterrupt:
            if begun and self.shown:
                self.tell(f"answers so far are kept in {begun[0]}")
            raise

    def tell(self, line: str) -> None:
        if self.shown:
            typer.echo(line, err=True)

    async def _evaluate(self, begun: list[Path]) -> Evaluation:
        async with (
            opened(self.project) as app,
            self._requested(app) as request,
            evaluation_targets(app, self.tell) as targets,
            AsyncExitStack() as stack,
        ):
            cache = None
            if not request.gates and app.project.evals.cache:
                cache = await stack.enter_async_context(opened_cache(cache_file(app), app.clock))
            with evaluation_progress(shown=self.shown) as progress:
                parts = EvaluationParts(progress, self.tell, begun.append, LocalJudgeParts(app), cache)
                return await evaluate(app, request, targets, parts=parts)

    @asynccontextmanager
    async def _requested(self, app: Application) -> AsyncIterator[EvaluationRequest]:
        """Open what is asked in place of a release, where something is."""
        chosen = self.target or (None if self.request.release else app.project.evals.target)
        if chosen is None:
            if not self.request.release:
                raise UsageError(
                    "what is to be evaluated?", hint="name a release, or --target; see `shipway eval run -h`"
                )
            yield self.request
            return
        if self.request.release:
            raise UsageError("a release and --target are named", hint="compare them: --target … --baseline REL")
        async with target_parts(app) as parts, choose_target(app, chosen, parts) as target:
            said = await unknown_cases(app, target, self.request.dataset)
            if said:
                warn(said)
            yield replace(self.request, target=target)


@group.command()
def run(
    release: options.Release = "",
    target: options.Target = "",
    baseline: options.Baseline = "",
    dataset: options.Dataset = "",
    repeats: options.Repeats = None,
    concurrency: options.Concurrency = None,
    looks: options.Looks = None,
    seed: options.Seed = None,
    fail_fast: options.FailFast = None,
    budget_usd: options.BudgetUsd = None,
    budget_tokens: options.BudgetTokens = None,
    markdown: options.Markdown = None,
    html: options.Html = None,
    junit: options.Junit = None,
    sarif: options.Sarif = None,
    json_file: options.JsonFile = None,
    out: options.Out = None,
    shard: options.ShardOption = "",
    cases: options.Cases = _SHOWN_CASES,
    *,
    tags: options.Tags = None,
    share: options.Share = 1.0,
    estimate: options.EstimateOnly = False,
    yes: options.Yes = False,
    resume: options.Resume = False,
    gates: options.Gates = True,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a release, and what is stable now interleaved, on the same cases; judge by the project's gates.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA; 3 also when the budget ended it or a report could
    not be written.
    """
    del debug
    reports = _report_files({"markdown": markdown, "html": html, "junit": junit, "sarif": sarif, "json": json_file})
    request = EvaluationRequest(release, baseline, dataset, repeats, concurrency, looks, seed, fail_fast)
    request = replace(request, budget_usd=budget_usd, budget_tokens=budget_tokens, yes=yes, resume=resume)
    request = replace(request, out=out, shard=shard, gates=gates, tags=tuple(tags or ()), share=share)
    asked = _Asked(project, request, target, shown=not as_json)
    if estimate:
        found = anyio.run(asked.estimate)
        emit(estimate_value(found), estimate_lines(found), as_json=as_json)
        return
    try:
        done = asked.evaluate()
    except UnavailableError as error:
        if not as_json:
            raise
        emit(_unanswered(release or target, error), (), as_json=True)
        raise typer.Exit(VERDICT_EXIT_CODES[Verdict.ERROR]) from error
    finish(done, reports, cases, as_json=as_json)


@group.command()
def compare(
    before: Annotated[str, typer.Argument(help="An evaluated release.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the latest evaluations of two releases side by side; runs that measured different things are refused."""
    del debug

    async def read() -> dict[str, Any]:
        async with opened(project) as app:
            first, second = await stored_run(app, before), await stored_run(app, after)
            different = comparable_runs(first, second)
            if different:
                raise GateRefusedError(
                    Verdict.ERROR,
                    f"{first['release']} and {second['release']} were measured differently: {'; '.join(different)}",
                    hint=f"evaluate both again: `shipway eval run {second['release']} --baseline {first['release']}`",
                )
            return await compared_runs(app, first, second)

    found = anyio.run(read)
    rows = [
        (name, _shown(item["before"]), _shown(item["after"]), _shown(item["difference"], signed=True), item["n"])
        for name, item in found["metrics"].items()
    ]
    lines = [f"{found['before']} -> {found['after']}", *table(("metric", "before", "after", "change", "n"), rows)]
    lines += [f"{name}: {json.dumps(change)}" for name, change in found["changed_cases"].items()]
    emit(found, lines, as_json=as_json)


for _command in (merge, rescore, report, matrix, attribute, perf, contract, smoke):
    group.command()(_command)
group.add_typer(cache, name="cache")
group.add_typer(tool, name="tool")


def _report_files(files: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the reports that are asked for; a file that cannot be written is refused before the work."""
    wanted = {form: path for form, path in files.items() if path is not None}
    for form, path in wanted.items():
        require_writable_file(path, "--json-file" if form == "json" else f"--{form}")
    return wanted


def _unanswered(asked: str, error: UnavailableError) -> dict[str, Any]:
    """Return what programs read when nobody answered: the verdict, and why no gate has one."""
    said = {"type": type(error).__name__, "message": str(error), "exit_code": VERDICT_EXIT_CODES[Verdict.ERROR]}
    return {"release": asked, "verdict": Verdict.ERROR.value, "error": said}


def _shown(value: float | None, *, signed: bool = False) -> str:
    return "-" if value is None else f"{value:+.3f}" if signed else f"{value:.3f}"

"""The stages that load the app and break it on purpose: what `shipway load` and `shipway chaos` do."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson

from shipway.chaos.judging import whole_verdict
from shipway.chaos.plan_file import ChaosSection
from shipway.chaos.plan_file import read_plan as read_chaos
from shipway.chaos.report import as_json, lines, said
from shipway.core.disk import explained
from shipway.core.verdicts import Verdict
from shipway.entrypoints.chaos_parts import ChaosRequest, chaos_run
from shipway.entrypoints.load_parts import LoadRequest, load_run, with_target
from shipway.entrypoints.stages.load_testing import Chaos, Load
from shipway.entrypoints.stages.work.serving import served
from shipway.entrypoints.wiring import opened
from shipway.load.plan import Limits
from shipway.load.plan_file import PlanFile, PlanSection, planned, read_plan
from shipway.load.report import LoadReport, metrics
from shipway.load.report import lines as load_lines
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.load.results import write_results


def load(project: Path | None) -> BuiltinStage:
    """Return the stage that loads the app."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Load.model_validate(dict(stage.with_))
        plan = _load_plan(wanted, root)
        async with AsyncExitStack() as stack:
            if not plan.url:
                app = await stack.enter_async_context(opened(root))
                await stack.enter_async_context(served(app, context, by_gateway=True))
            report = await load_run(LoadRequest(plan, root, wanted.allow_hosts))
        await write_results(report, out=_below(root, wanted.out), junit=_below(root, wanted.junit))
        _told(context, load_lines(report))
        return StageOutcome(report.verdict, outputs=metrics(report), problem=_problem(report))

    return run


def chaos(project: Path | None) -> BuiltinStage:
    """Return the stage that breaks what runs here."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Chaos.model_validate(dict(stage.with_))
        section = ChaosSection() if wanted.plan is None else read_chaos(root / wanted.plan)
        folder = root if wanted.plan is None else (root / wanted.plan).parent
        if wanted.route:
            section = section.model_copy(update={"route": wanted.route})
        if wanted.key is not None:
            section, folder = section.model_copy(update={"key": wanted.key}), root
        results, undone = await chaos_run(ChaosRequest(section, root, folder))
        value: dict[str, Any] = as_json(results, undone)
        out = _below(root, wanted.out)
        if out is not None:
            with explained(out, "cannot be written"):
                await anyio.Path(out).write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
        _told(context, lines(results, undone))
        verdict = whole_verdict(results)
        broken = [
            f"{result.kind.value} ({said(result.verdict)})"
            for result in results
            if result.verdict is not Verdict.PASS and (result.asked_for or not result.reason)
        ]
        outputs = {result.kind.value: said(result.verdict) for result in results}
        problem = "" if verdict is Verdict.PASS else f"not kept: {', '.join(broken) or 'nothing was checked'}"
        return StageOutcome(verdict, outputs=outputs, problem=problem)

    return run


def _load_plan(wanted: Load, root: Path) -> PlanFile:
    file = planned(PlanSection(), root) if wanted.plan is None else read_plan(root / wanted.plan)
    file = with_target(file, url=wanted.url, model=wanted.model, route=wanted.route)
    if wanted.limits is not None:
        file = replace(file, plan=replace(file.plan, limits=Limits(dict(wanted.limits))))
    return replace(file, key=wanted.key, key_folder=root) if wanted.key is not None else file


def _below(root: Path, path: Path | None) -> Path | None:
    return None if path is None else root / path


def _told(context: StageContext, said: list[str]) -> None:
    context.output.feed("".join(f"{line}\n" for line in said).encode())


def _problem(report: LoadReport) -> str:
    if report.problems:
        return report.problems[0]
    wrong = [check.name for check in report.checks if check.verdict is not Verdict.PASS]
    return f"{report.verdict.value}: {', '.join(wrong) or 'nothing was measured'}" if wrong or not report.checks else ""

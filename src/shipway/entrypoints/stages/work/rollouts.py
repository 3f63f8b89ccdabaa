"""The stages that deploy and watch; they call what `deploy` and `rollout watch` call."""

from pathlib import Path
from typing import Any

from shipway.core.errors import GateRefusedError, UnavailableError, UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.stages import rollouts as options
from shipway.entrypoints.stages.work.checking import finished
from shipway.entrypoints.stages.work.handing_on import take_over_evaluation
from shipway.entrypoints.stages.work.releases import made, released
from shipway.entrypoints.wiring import opened
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.rollouts.model import Rollout, RolloutState
from shipway.services.application import Application
from shipway.services.deployments import Deployed, apply_deploy, plan_deploy, wait_rollout
from shipway.services.http_processes import ProcessTarget
from shipway.services.rollout_plans import PlanChoice
from shipway.services.rollouts import verdict_of, view

# A little less than the stage itself has, so that the answer is its own and not a time-out.
_SHARE = 0.95
_AT_ONCE = {"first", "unchanged"}
"""Deploys that need no rollout."""


def staging(project: Path | None) -> BuiltinStage:
    """Return the stage that deploys in staging."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Staging.model_validate(dict(stage.with_))
        async with opened(root) as app:
            if app.environment != wanted.environment:
                raise UsageError(
                    f"pipeline.{stage.name}: the project is set to environment {app.environment!r}, not to"
                    f" {wanted.environment!r}; nothing was deployed",
                    hint="set `environment` in shipway.yaml, or give the stage the option environment",
                )
            done = await _deployed(app, stage, context, PlanChoice(strategy=wanted.strategy), at_once=wanted.at_once)
            return await _after(app, root, stage, context, done)

    return run


def canary(project: Path | None) -> BuiltinStage:
    """Return the stage that begins a rollout."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Canary.model_validate(dict(stage.with_))
        choice = PlanChoice(root / wanted.plan if wanted.plan else None, wanted.strategy)
        async with opened(root) as app:
            done = await _deployed(app, stage, context, choice)
            if wanted.wait:
                return await _after(app, root, stage, context, done)
        return StageOutcome(Verdict.PASS, outputs=_outputs(done))

    return run


def monitor(project: Path | None) -> BuiltinStage:
    """Return the stage that waits for a rollout's end."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Monitor.model_validate(dict(stage.with_))
        kinds = {result.outputs.get("kind") for result in context.results.values()}
        if not wanted.rollout and kinds & _AT_ONCE:
            return StageOutcome(Verdict.PASS, outputs={"state": "no rollout: first release, or unchanged"})
        name = wanted.rollout or made(stage, context, "rollout", "canary")
        async with opened(root) as app:
            rollout = await _waited(app, stage, name)
        return await _told(root, stage, context, rollout, name, paused=wanted.paused)

    return run


async def _deployed(
    app: Application, stage: StageSpec, context: StageContext, choice: PlanChoice, *, at_once: bool = False
) -> Deployed:
    name = await released(app, stage, context)
    await take_over_evaluation(app, stage, context, name)
    plan = await plan_deploy(app, name, LocalJudgeParts(app), choice=choice, at_once=at_once)
    for line in plan.lines:
        context.output.feed((line + "\n").encode())
    if plan.refused is not None:
        raise plan.refused
    return await apply_deploy(app, plan, ProcessTarget(app.state.documents, app.environment))


async def _after(app: Application, root: Path, stage: StageSpec, context: StageContext, done: Deployed) -> StageOutcome:
    if done.rollout is None:
        return StageOutcome(Verdict.PASS, outputs=_outputs(done))
    rollout = await _waited(app, stage, done.rollout)
    return await _told(root, stage, context, rollout, done.rollout)


async def _waited(app: Application, stage: StageSpec, name: str) -> Rollout:
    try:
        return await wait_rollout(app, name, timeout_s=stage.timeout_s * _SHARE)
    except UnavailableError as error:
        # It goes on: neither good nor bad.
        raise GateRefusedError(Verdict.INCONCLUSIVE, error.message, hint=error.hint) from error


async def _told(
    root: Path, stage: StageSpec, context: StageContext, rollout: Rollout, name: str, *, paused: bool = False
) -> StageOutcome:
    found, verdict = view(rollout), verdict_of(rollout)
    if paused and rollout.state is RolloutState.PAUSED:
        verdict = Verdict.PASS
    message = "" if verdict is Verdict.PASS else str(found["reason"] or found["state"])
    finding = Finding("rollout", name, verdict, message=message, rule=f"rollout/{found['state']}")
    outputs = {"rollout": name, "release": str(rollout.candidate), "state": str(found["state"])}
    return await finished(root, stage, context, FindingReport(stage.name, "", (finding,)), outputs)


def _outputs(done: Deployed) -> dict[str, Any]:
    found: dict[str, Any] = {"release": done.release, "kind": done.kind}
    return found | ({"rollout": done.rollout} if done.rollout else {})

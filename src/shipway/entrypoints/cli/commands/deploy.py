"""`shipway deploy` and `shipway rollback`."""

from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.local_process.host import LocalHost
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.commands.rollout import summary_lines, waits_for_controller
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, warn
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened, operated, site
from shipway.registry.model import Release
from shipway.services.application import Application, Installation
from shipway.services.deployments import (
    START_TIMEOUT_S,
    Deployed,
    DeployPlan,
    apply_deploy,
    plan_deploy,
    wait_rollout,
)
from shipway.services.http_processes import ProcessTarget, needs_processes
from shipway.services.rollbacks import RollbackPlan, apply_roll_back, plan_roll_back, require_running
from shipway.services.rollout_plans import PlanChoice
from shipway.services.rollouts import controller_runs, verdict_of, view
from shipway.services.running import Running


def deploy(
    release: Annotated[str, typer.Argument(help="A release id or the beginning of one.")],
    override_gate: Annotated[
        str | None, typer.Option(help="Deploy against the gate's verdict; the reason is audited.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Instead of rollout.strategy: canary, shadow, ...")] = None,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", help="A YAML file with keys of `rollout`, or that section; they hold for this deploy."),
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Do not wait out rollout.cooldown_s of a release that was rolled back.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and change nothing, also while a rollout runs.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the rollout has ended or paused.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="With --wait: seconds at most.")] = 3600.0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a release to the environment: at once when it is the first, else by the project's rollout plan.

    Only a release whose gate said PASS against what is stable now is taken. With --wait the exit code is the rollout's:
    0 promoted, 1 rolled back, 3 failed, 4 paused.
    """
    del debug
    if override_gate is not None and not override_gate.strip():
        raise UsageError("--override-gate: the reason is empty; say why in words, it is audited")
    reason = (override_gate or "").strip()
    _require_words(strategy, "--strategy")
    _require_words(None if plan_file != Path() else "", "--plan")

    async def act() -> tuple[DeployPlan, Deployed | None, dict[str, Any] | None, int]:
        async with opened(project) as app:
            choice = PlanChoice(plan_file, strategy or "")
            judge = LocalJudgeParts(app)
            plan = await plan_deploy(app, release, judge, override_reason=reason, choice=choice, at_once=at_once)
            if plan.refused is not None and not dry_run:
                raise plan.refused
            if not as_json:
                emit(None, plan.lines, as_json=False)
            if dry_run:
                return plan, None, None, 0
            if plan.kind == "first":
                _announce_wait(plan.release, running=_running(app), as_json=as_json)
            done = await apply_deploy(app, plan, _target(app))
            if done.rollout is not None and not await controller_runs(app):
                warn(waits_for_controller(app.environment))
            if not wait or done.rollout is None:
                return plan, done, None, 0
            rollout = await wait_rollout(app, done.rollout, timeout_s=timeout_s)
            return plan, done, view(rollout), VERDICT_EXIT_CODES[verdict_of(rollout)]

    plan, done, rollout, code = anyio.run(act)
    emit(_deploy_value(plan, done, rollout), _deploy_lines(done, rollout), as_json=as_json)
    raise typer.Exit(code)


def _require_words(value: str | None, option: str) -> None:
    """Refuse an option without a value, which a shell's unset variable leaves."""
    if value is not None and not value.strip():
        raise UsageError(f"{option}: the value is empty; name one, or leave the option out")


def rollback(
    to: Annotated[str | None, typer.Option(help="A release that was stable here, instead of the one before.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the audit log.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when a rollout in progress has ended.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="With --wait: seconds at most.")] = 300.0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Return to the release before: abort the rollout in progress, or switch all traffic back at once.

    A second rollback in a row would go forward again; it is refused unless --to names the release. One that not every
    gateway worker has confirmed is repeated instead.
    """
    del debug
    _require_words(to, "--to")
    where = site(project, warn)

    async def act() -> tuple[RollbackPlan, Deployed, dict[str, Any] | None]:
        async with operated(where) as app:
            plan = await plan_roll_back(app, to=to or "")
            if not as_json:
                emit(None, plan.lines, as_json=False)
            if plan.rollout is None:
                _announce_wait(plan.release, running=where.running.is_running(), as_json=as_json)
            done = await apply_roll_back(app, plan, _target(app), reason=reason)
            if done.rollout is None or not wait:
                return plan, done, None
            return plan, done, view(await wait_rollout(app, done.rollout, timeout_s=timeout_s))

    plan, done, rollout = anyio.run(act)
    value = {
        "release": done.release,
        "from": plan.leaves,
        "kind": done.kind,
        "confirmed_s": done.confirmed_s,
        "rollout": rollout,
    }
    emit(value, _deploy_lines(done, rollout), as_json=as_json)


def _announce_wait(release: Release, *, running: bool, as_json: bool) -> None:
    """Refuse to wait for processes that nothing would start; say for what and how long this waits otherwise."""
    require_running(release, running=running)
    if needs_processes(release) and not as_json:
        typer.echo(f"waiting until the process of {release.id} is healthy, {START_TIMEOUT_S:g} s at most", err=True)


def _running(app: Application) -> bool:
    drain_s = app.project.server.drain_s
    return Running(app.workspace, LocalHost(), app.clock, drain_s).is_running()


def _deploy_value(plan: DeployPlan, done: Deployed | None, rollout: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "release": plan.release.id,
        "kind": plan.kind,
        "plan": list(plan.lines),
        "dry_run": done is None,
        "refused": plan.refused.message if plan.refused else None,
        "rollout": rollout or (done.rollout if done else None),
        "confirmed_s": done.confirmed_s if done else None,
    }


def _deploy_lines(done: Deployed | None, rollout: dict[str, Any] | None) -> list[str]:
    if done is None:
        return ["dry run: nothing was changed"]
    if rollout is not None:
        return summary_lines(rollout)
    if done.rollout is not None:
        return [f"rollout {done.rollout}: watch it with `shipway rollout watch`"]
    if done.kind == "unchanged":
        return []
    applied = (
        "no gateway runs" if done.confirmed_s is None else f"every gateway worker obeys after {done.confirmed_s:.3f} s"
    )
    return [f"{done.release} is stable; {applied}"]


def _target(app: Installation) -> ProcessTarget:
    return ProcessTarget(app.state.documents, app.environment)

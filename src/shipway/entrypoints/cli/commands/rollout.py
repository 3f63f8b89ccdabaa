"""`shipway rollout`: watch and steer a rollout."""

from typing import Annotated, Any

import anyio
import typer

from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.wiring import operated, site
from shipway.rollouts.model import CONTROLLER, TERMINAL, CommandKind
from shipway.services.rollouts import (
    command_rollout,
    controller_runs,
    described,
    explained,
    find_rollout,
    is_at_rest,
    require_controller,
    rollout_views,
    view,
)

group = command_group("Watch and steer a rollout.")
RolloutArgument = Annotated[str | None, typer.Argument(help="A rollout's id; by default the newest.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the audit log.")]
_WATCH_S = 0.5
_ENDED = frozenset(state.value for state in TERMINAL)


@group.command()
def status(
    rollout: RolloutArgument = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show where a rollout is, on what evidence, and what it did."""
    del debug
    found = anyio.run(_read, project, rollout)
    emit(found, [*summary_lines(found), *history_lines(found)], as_json=as_json)


@group.command()
def history(
    rollout: RolloutArgument = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show everything a rollout did: when, who, what, and why."""
    del debug
    found = anyio.run(_read, project, rollout)
    value = {"rollout": found["rollout"], "state": found["state"], "history": found["history"]}
    emit(value, [f"rollout {found['rollout']}: {found['state']}", *told_lines(found)], as_json=as_json)


@group.command()
def explain(
    rollout: RolloutArgument = None,
    check_output: Annotated[
        bool, typer.Option("--check-output", help="Print all that smoke checks and replayed cases printed.")
    ] = False,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say why a rollout stands where it stands: each metric, each rule, and how the evidence grew."""
    del debug

    async def read() -> tuple[dict[str, Any], list[str]]:
        async with operated(site(project, warn)) as app:
            return await explained(app, await find_rollout(app, rollout), check_output=check_output)

    found, lines = anyio.run(read)
    emit(found, lines, as_json=as_json)


@group.command("list")
def list_rollouts(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List rollouts, newest first."""
    del debug

    async def read() -> list[dict[str, Any]]:
        async with operated(site(project, warn)) as app:
            return await rollout_views(app)

    found = anyio.run(read)
    header = ("rollout", "state", "verdict", "stable", "candidate", "weight")
    rows = [[f"{item[name]:.0%}" if name == "weight" else item[name] for name in header] for item in found]
    emit(found, table(header, rows), as_json=as_json)


@group.command()
def watch(
    rollout: RolloutArgument = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Follow a rollout until it ends or pauses.

    Exit code: 0 promoted, 1 rolled back, 3 failed, 4 paused.
    """
    del debug
    found = anyio.run(_watch, project, rollout, as_json)
    emit(found, summary_lines(found), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[Verdict(found["verdict"])])


@group.command()
def pause(
    rollout: RolloutArgument = None,
    reason: ReasonOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hold the weights where they are."""
    del debug
    _command(project, rollout, CommandKind.PAUSE, reason, as_json=as_json)


@group.command()
def resume(
    rollout: RolloutArgument = None,
    reason: ReasonOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Go on from where it was paused; smoke checks that could not be carried out are done again."""
    del debug
    _command(project, rollout, CommandKind.RESUME, reason, as_json=as_json)


@group.command()
def promote(
    rollout: RolloutArgument = None,
    reason: ReasonOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give everybody the candidate now, without further evidence; audited."""
    del debug
    _command(project, rollout, CommandKind.PROMOTE, reason, as_json=as_json)


@group.command()
def approve(
    rollout: RolloutArgument = None,
    reason: ReasonOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let the step, or the promotion, that waits for a person begin; audited.

    Also a step whose smoke checks could not be carried out: it begins without them.
    """
    del debug
    _command(project, rollout, CommandKind.APPROVE, reason, as_json=as_json)


@group.command()
def abort(
    rollout: RolloutArgument = None,
    reason: ReasonOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give everybody the stable release again."""
    del debug
    _command(project, rollout, CommandKind.ABORT, reason, as_json=as_json)


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Return the lines that say how a rollout stands."""
    served, bad = found["conversations"], found["bad_conversations"]
    arms = [f"{arm}: {bad[arm]} of {served[arm]} conversations bad" for arm in ("candidate", "stable")]
    lines = [
        f"rollout {found['rollout']}: {found['state']} ({found['verdict']}) {found['reason']}".rstrip(),
        *([f"  waits: {found['waiting']}"] if found.get("waiting") else []),
        *_silence_lines(found),
        f"  {found['stable']} -> {found['candidate']}",
        f"  {_place(found)}; {'; '.join(arms)}",
        *_harm_lines(found),
        *_evidence_lines(found["promotion"], by_hand=_promoted_by_hand(found)),
    ]
    if found["override"]:
        lines.append(f"  the gate was overridden: {found['override']}")
    if found["first_bad_event_to_decision_s"] is not None:
        lines.append(f"  first bad event -> decision: {found['first_bad_event_to_decision_s']:.1f} s")
    if found["decision_to_last_assignment_s"] is not None and found["state"] == "rolled_back":
        since = found["decision_to_last_assignment_s"]
        before = " (before the decision)" if since < 0 else ""
        lines.append(f"  decision -> last request assigned to it: {since:+.3f} s{before}")
    return lines


def _place(found: dict[str, Any]) -> str:
    match found["state"]:
        case "completed":
            return f"promoted: {found['candidate']} is stable now and serves {found['weight']:.0%}"
        case "rolled_back":
            return f"withdrawn: {found['stable']} serves everybody"
        case _:
            return f"step {found['step']} of {found['steps']}, weight {found['weight']:.0%}"


def _harm_lines(found: dict[str, Any]) -> list[str]:
    harm = found.get("harm")
    if harm is None:
        return []
    return [
        f"  evidence of harm: {harm['e']:.3g} (it goes back at {harm['needed_e']:.3g}); `rollout explain` has the parts"
    ]


def _promoted_by_hand(found: dict[str, Any]) -> bool:
    """Tell whether a person promoted it, whatever the evidence was."""
    return any(
        entry["action"] == "rollout.promoted" and entry["actor"] != CONTROLLER for entry in found.get("history", ())
    )


def _evidence_lines(promotion: dict[str, Any], *, by_hand: bool) -> list[str]:
    """Return how strong the evidence of no harm is, and its absolute half in words."""
    needed = f"{promotion['needed_e']:.3g}"
    paired = [
        f"  evidence of no harm by {item['pairs']} shadow pairs ({item['metric']}): {item['no_harm_e']:.3g} of {needed}"
        for item in promotion["pairs"]
    ]
    if not promotion["required"]:
        return paired or ["  evidence of no harm: not required by this plan: time, health and no sign of harm decide"]
    wanted = f"{needed} was not waited for: a person promoted it" if by_hand else f"promotion needs {needed}"
    lines = [
        *paired,
        (
            f"  evidence of no harm: {promotion['no_harm_e']:.3g} ({wanted});"
            f" compared with stable: {promotion['relative_e']:.3g}"
        ),
    ]
    if promotion["harmless_rate"] is None:
        return lines
    served = promotion["good"] + promotion["bad"]
    said = f"{promotion['harmless_e']:.3g}" if promotion["harmless_e"] else "not counted, it looks worse than stable"
    return [
        *lines,
        (
            f"  evidence that fewer than {promotion['harmless_rate']:.2%} of the candidate's own conversations are bad:"
            f" {said} ({promotion['bad']} bad of {served} that have settled)"
        ),
    ]


def history_lines(found: dict[str, Any]) -> list[str]:
    """Return the lines of what a rollout did."""
    start_s = found["created_at_s"]
    return [
        f"  +{entry['at_s'] - start_s:7.1f} s  {entry['actor']:<20} {entry['action']}" for entry in found["history"]
    ]


def told_lines(found: dict[str, Any]) -> list[str]:
    """Return the lines of what a rollout did, each with the details that say why."""
    lines = []
    for entry, line in zip(found["history"], history_lines(found), strict=True):
        details = entry["details"]
        told = [
            *([f"step {details['step'] + 1}"] if "step" in details else []),
            *([f"{details['weight']:.0%}"] if "weight" in details else []),
            *[str(details[name]) for name in ("release", "found", "reason") if details.get(name)],
            *([f"without {'; '.join(details['without'])}"] if details.get("without") else []),
            *_silent_details(details),
        ]
        lines.append(f"{line}  {', '.join(told)}".rstrip())
    return lines


def _silent_details(details: dict[str, Any]) -> list[str]:
    """Return that workers had gone back to stable by themselves, where an entry says so."""
    silent = details.get("dead_man") or details.get("workers")
    return [f"control was silent, {', '.join(silent)} had gone back to stable"] if silent else []


def _silence_lines(found: dict[str, Any]) -> list[str]:
    """Return the line that says that users get stable meanwhile, and what makes the rollout go on."""
    silent = found.get("silent_workers")
    if not silent:
        return []
    who = ", ".join(silent)
    return [f"  {who}: everybody gets stable, because control is silent; `shipway logs control` says why"]


async def _read(project: Any, rollout: str | None) -> dict[str, Any]:
    async with operated(site(project, warn)) as app:
        return await described(app, await find_rollout(app, rollout))


async def _watch(project: Any, rollout: str | None, as_json: bool) -> dict[str, Any]:
    async with operated(site(project, warn)) as app:
        name, shown, warned = (await find_rollout(app, rollout)).id, 0, False
        while True:
            found = await find_rollout(app, name)
            shown_view = view(found)
            if not as_json:
                for line in history_lines(shown_view)[shown:]:
                    typer.echo(line)
            shown = len(shown_view["history"])
            if is_at_rest(found):
                return await described(app, found)
            if not warned and not await controller_runs(app):
                warn(waits_for_controller(app.environment))
                warned = True
            await anyio.sleep(_WATCH_S)


def waits_for_controller(environment: str) -> str:
    """Return the warning for who follows a rollout that nobody leads."""
    return f"no controller runs for {environment!r}, so the rollout stands still; waiting, start it with `shipway up`"


def _command(project: Any, rollout: str | None, kind: CommandKind, reason: str, *, as_json: bool) -> None:
    async def act() -> dict[str, Any]:
        async with operated(site(project, warn)) as app:
            found = await command_rollout(app, rollout, kind, reason=reason)
            if found["state"] not in _ENDED:
                await require_controller(app, kind, found["rollout"])
            return found

    found = anyio.run(act)
    done = f"rollout {found['rollout']} is {found['state']} already"
    handed = f"{kind.value} was handed to the controller"
    emit(found, [done if found["state"] in _ENDED else handed, *summary_lines(found)], as_json=as_json)

"""`shipway switch`: kill switches, locks and knobs for incidents."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import typer

from shipway.core.switches import Switch, SwitchKind
from shipway.entrypoints.cli.durations import duration_s, moment
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.wiring import operated, site
from shipway.services.application import Installation
from shipway.services.switches import Switched, SwitchRequest, clear_switch, list_switches, set_switch

group = command_group("Kill, lock or limit routes, models and tools at once; every switch can expire by itself.")
Result = TypeVar("Result")


@group.command("set")
def set_(
    kind: Annotated[SwitchKind, typer.Argument(help="What the switch does.")],
    target: Annotated[str, typer.Argument(help="A route, model or tool; '*' for every route.")] = "",
    value: Annotated[str, typer.Argument(help="lock-route: a model; others: a number.")] = "",
    expires: Annotated[str | None, typer.Option("--for", help="Ends by itself after, such as 90s, 30m or 12h.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; callers of a killed route see it too.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Set a switch; every gateway worker obeys within a second."""
    del debug
    lifetime_s = None if expires is None else duration_s(expires, "--for")
    request = SwitchRequest(kind.value, target, value, lifetime_s, reason)
    done = _run(project, lambda app: set_switch(app, request))
    ends = "until it is cleared" if expires is None else f"for {expires}"
    emit(done, [f"{done.name} is on {ends}; {_obeyed(done)}"], as_json=as_json)


@group.command()
def clear(
    name: Annotated[str, typer.Argument(help="The name that `switch list` shows, or all.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Clear a switch before it expires."""
    del debug
    done = _run(project, lambda app: clear_switch(app, name))
    emit(done, [f"{done.name} is off; {_obeyed(done)}"], as_json=as_json)


@group.command("list")
def list_(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the switches in force."""
    del debug
    found: list[Switch] = _run(project, list_switches)
    rows = [[s.name, s.value, moment(s.expires_at_s), s.actor, s.reason] for s in found]
    lines = table(("switch", "value", "expires", "by", "reason"), rows) if rows else ["no switch is in force"]
    emit([{"name": switch.name, **_plain(switch)} for switch in found], lines, as_json=as_json)


def _plain(switch: Switch) -> dict[str, object]:
    return {
        "kind": switch.kind.value,
        "target": switch.target,
        "value": switch.value,
        "expires_at_s": switch.expires_at_s,
        "reason": switch.reason,
        "actor": switch.actor,
        "set_at_s": switch.set_at_s,
    }


def _obeyed(done: Switched) -> str:
    if done.obeyed_s is None:
        return "no gateway runs"
    return f"every gateway worker obeys after {done.obeyed_s:.3f} s"


def _run(project: Path | None, act: Callable[[Installation], Awaitable[Result]]) -> Result:
    where = site(project, warn)

    async def run() -> Result:
        async with operated(where) as app:
            return await act(app)

    return anyio.run(run)

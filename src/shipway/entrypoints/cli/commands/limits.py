"""`shipway limits`: what callers have used of their limits and budgets."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.gateway_limits import opened_limits
from shipway.entrypoints.wiring import load_as_served, opened
from shipway.gateway.quota_book import duration
from shipway.services.application import Application
from shipway.services.limits import Counters, LimitRow, LimitSubject, reset_limits, show_limits

group = command_group("Show and reset what callers have used of their limits and budgets.")
_DAY_S, _HOUR_S = 86_400, 3600
KeyOption = Annotated[str | None, typer.Option("--key", help="The id that `key list` shows.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="A tenant's name.")]


@group.command()
def show(
    key: KeyOption = None,
    tenant: TenantOption = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what is used of the limits of a key and its tenant, of a tenant and its keys, or of all."""
    del debug
    subject = LimitSubject(key, tenant)
    rows = _run(project, lambda app, counters: show_limits(app, counters, subject))
    emit(rows, _lines(rows) if rows else ["no key and no tenant has a limit"], as_json=as_json)


@group.command()
def reset(
    key: KeyOption = None,
    tenant: TenantOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="requests, tokens, daily_usd or monthly_usd; may be repeated; all without it."),
    ] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Set what a key, or a tenant beside its keys, has used to nothing; requests that run still count."""
    del debug
    subject = LimitSubject(key, tenant)
    rows = _run(project, lambda app, counters: reset_limits(app, counters, subject, only or ()))
    lines = [f"{_owner(row)}: {row.limit} is at 0, it was {_amount(row.used)} of {_amount(row.most)}" for row in rows]
    emit({"reset": rows}, lines, as_json=as_json)


def _run(project: Path | None, act: Callable[[Application, Counters], Awaitable[list[LimitRow]]]) -> list[LimitRow]:
    loaded = load_as_served(project)

    async def run() -> list[LimitRow]:
        async with opened(project, loaded=loaded) as app, opened_limits(app) as counters:
            return await act(app, counters)

    return anyio.run(run)


def _lines(rows: Sequence[LimitRow]) -> list[str]:
    shown = [
        [_owner(row), _limit(row), _amount(row.used), _amount(row.left), _amount(row.most), _wait(row)] for row in rows
    ]
    return table(("of", "limit", "used", "left", "most", "unused in"), shown)


def _owner(row: LimitRow) -> str:
    return row.key_id or f"tenant {row.tenant}"


def _limit(row: LimitRow) -> str:
    return f"{row.limit} ({_amount(row.per_min)}/min)" if row.per_min else row.limit


def _amount(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _wait(row: LimitRow) -> str:
    if not row.used or not row.resets_in_s:
        return "-"
    if row.resets_in_s < _HOUR_S:
        return duration(row.resets_in_s)
    days, rest = divmod(round(row.resets_in_s), _DAY_S)
    return f"{days}d{rest // _HOUR_S}h" if days else f"{rest // _HOUR_S}h{rest % _HOUR_S // 60}m"

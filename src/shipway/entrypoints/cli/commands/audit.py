"""`shipway audit`: the log of everything that changed what users get."""

import json
from datetime import UTC, datetime
from typing import Annotated

import anyio
import typer

from shipway.core.errors import IntegrityError
from shipway.core.ports import AuditEvent
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.wiring import opened

group = command_group("Read and verify the audit log.")


@group.command("list")
def list_events(
    after: Annotated[int, typer.Option(help="Only events after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List audit events, oldest first."""
    del debug

    async def read() -> list[AuditEvent]:
        async with opened(project) as app:
            return await app.state.audit.entries(after=after, limit=limit)

    events = anyio.run(read)
    emit(events, [_line(event) for event in events], as_json=as_json)


@group.command()
def verify(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check that no event is missing or altered."""
    del debug

    async def read() -> tuple[list[str], int]:
        async with opened(project) as app:
            faults = await app.state.audit.verify()
            count, after = 0, 0
            while page := await app.state.audit.entries(after=after, limit=5000):
                count, after = count + len(page), page[-1].seq
            return faults, count

    faults, count = anyio.run(read)
    if faults:
        raise IntegrityError("the audit log is damaged:\n" + "\n".join(f"  {fault}" for fault in faults))
    emit({"events": count, "intact": True}, [f"{count} events, the chain holds"], as_json=as_json)


def _line(event: AuditEvent) -> str:
    at = datetime.fromtimestamp(event.at_s, UTC).isoformat(timespec="milliseconds")
    details = json.dumps(event.details, ensure_ascii=False, sort_keys=True)
    return f"{event.seq:>5}  {at}  {event.actor:<18} {event.action:<24} {event.subject}  {details}"

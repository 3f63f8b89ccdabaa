"""`shipway pipeline serve` and `shipway pipeline queue`: run pipelines on pushes, without a CI system."""

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.local_process.host import LocalHost
from shipway.config.loading import LoadedProject
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.foreground import until_signalled
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.webhooks.process import Places, Serving, open_queue, run_receiver, settings_of
from shipway.entrypoints.wiring import load, opened
from shipway.pipeline.webhooks.model import LIVE, WAITING, Entry, EntryState
from shipway.services.webhooks.queue import ask_to_cancel, stored_entries

_SHORT = 12
_LAST = 20


class Action(StrEnum):
    """What can be done with a run of the queue."""

    CANCEL = "cancel"


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free one.")] = 8093,
    host: Annotated[
        str, typer.Option(help="The address to listen on; a proxy with TLS belongs in front.")
    ] = "127.0.0.1",
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Runs of different branches at once.")] = 1,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take webhooks of GitHub and GitLab (POST /github, /gitlab) and run the pipeline for what was pushed.

    Refuses to start without a configured secret. Ends with SIGTERM; what runs then is run again by the next one.
    """
    del debug
    loaded = load(project)
    settings_of(loaded)
    if not _is_loopback(host):
        warn(f"{host} can be reached from elsewhere without TLS; put a proxy in front and listen on 127.0.0.1")
    anyio.run(until_signalled, run_receiver, loaded, Serving(host, port, parallel))
    emit({"ended": "webhooks"}, ["receiver ended"], as_json=as_json)


def queue(
    action: Annotated[Action | None, typer.Argument(help="`cancel` a run that waits, or end one that runs.")] = None,
    run: Annotated[str, typer.Argument(help="The id of that run, or the end of it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Show also those that ended long ago.")] = False,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the runs that webhooks queued: the last that ended, those that run, those that wait; `cancel RUN` one."""
    del debug
    if (action is None) == bool(run):
        raise UsageError(f"cancel a run by its id, not {run!r}" if run else "give the id of the run that is to end")
    loaded = load(project)
    if action is None:
        _show(loaded, every=every, as_json=as_json)
        return
    entry, done = anyio.run(_cancelled, loaded, run)
    said = f"run {entry.id} is cancelled" if done else f"run {entry.id}: the receiver ends it now"
    emit({"run": entry.id, "was": entry.state.value, "cancelled": done}, [said], as_json=as_json)


def _show(loaded: LoadedProject, *, every: bool, as_json: bool) -> None:
    places = Places(loaded.root)
    working = LocalHost().is_locked(places.lock)
    entries = [_as_seen(entry, working=working) for entry in anyio.run(_entries, loaded)]
    ended = [entry for entry in entries if entry.state not in LIVE]
    running = [entry for entry in entries if entry.state is EntryState.RUNNING]
    shown = [*(ended if every else ended[-_LAST:]), *running, *(entry for entry in entries if entry.state in WAITING)]
    rows = [
        (entry.id, entry.state.value, entry.event, _ref(entry), entry.commit[:_SHORT], _time(entry), entry.reason)
        for entry in shown
    ]
    lines = table(("RUN", "STATE", "EVENT", "REF", "COMMIT", "QUEUED", "WHY"), rows) if rows else ["no run"]
    lines += [] if working else ["no receiver works on this project: `shipway pipeline serve`"]
    emit({"receiver": working, "runs": [_document(entry, places) for entry in shown]}, lines, as_json=as_json)


def _as_seen(entry: Entry, *, working: bool) -> Entry:
    """Return an entry as it is: what a killed receiver left running does not run."""
    if working or entry.state is not EntryState.RUNNING:
        return entry
    return replace(entry, state=EntryState.INTERRUPTED, reason="its receiver is gone")


async def _entries(loaded: LoadedProject) -> list[Entry]:
    async with opened(None, loaded=loaded) as app:
        return await stored_entries(app.state.documents)


async def _cancelled(loaded: LoadedProject, run: str) -> tuple[Entry, bool]:
    """Ask for a cancellation; without a receiver it is done here."""
    settings, host = settings_of(loaded), LocalHost()
    async with opened(None, loaded=loaded) as app:
        entry = await ask_to_cancel(app.state.documents, run)
        held = host.lock(Places(loaded.root).lock)
        if held is None:
            return entry, False
        try:
            queue = await open_queue(app, settings)
            await queue.cancellations()
            await queue.update(entry.id, state=EntryState.CANCELLED, reason="cancelled by hand")
        finally:
            host.unlock(held)
    return entry, True


def _document(entry: Entry, places: Places) -> dict[str, Any]:
    found = {key: value for key, value in entry.to_dict().items() if key not in {"marks", "cancels", "told"}}
    log = places.leftovers.log(entry.id)
    return found | {"log": str(log) if log.is_file() else None}


def _ref(entry: Entry) -> str:
    return entry.ref.removeprefix("refs/").removeprefix("heads/").removesuffix("/head")


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.queued_at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

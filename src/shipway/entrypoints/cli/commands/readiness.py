"""`shipway readiness`: how far the app is from production, with evidence; `attest` states what no program can see."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import orjson
import typer

from shipway.adapters.git.history import GitHistory
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject
from shipway.core.clock import SystemClock
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, warn
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.wiring import examined, opened_or_why, operated, stored
from shipway.readiness.audit import Audit, audit
from shipway.readiness.catalogue import LEVELS
from shipway.readiness.facts import Attestation, ServiceFacts
from shipway.readiness.model import Area, State
from shipway.readiness.render import as_dict, markdown, text_lines
from shipway.services.api_contracts import base_url
from shipway.services.readiness.attestations import MOST_DAYS, Statement, attest
from shipway.services.readiness.collect import CollectParts, collect
from shipway.services.readiness.probes import ProbePlan, probe_service

_KEY = "SHIPWAY_TARGET_KEY"
_DAYS = 90
_FAILS, _UNDECIDED = 1, 4


class Action(StrEnum):
    """What is done instead of an audit."""

    ATTEST = "attest"


class Format(StrEnum):
    """How an audit is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True)
class _Shape:
    """How and where an audit is shown."""

    shape: Format
    output: Path | None
    areas: tuple[Area, ...]
    min_level: int | None


def readiness(
    action: Annotated[
        Action | None, typer.Argument(help="`attest ITEM` states what no program can see; nothing: an audit.")
    ] = None,
    item: Annotated[str | None, typer.Argument(help="With attest: the check, such as SEC-5.")] = None,
    url: Annotated[str, typer.Option(help="The service that is asked; by default the one that runs here.")] = "",
    shape: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
    only: Annotated[str, typer.Option(help="Show these areas alone, such as docker,security.")] = "",
    min_level: Annotated[
        int | None, typer.Option(min=0, max=len(LEVELS) - 1, help="Leave with 1, or 4, below this level.")
    ] = None,
    key_env: Annotated[str, typer.Option(help="The variable that holds an API key for the service.")] = _KEY,
    statement: Annotated[str, typer.Option(help="With attest: what is so, and how it is known.")] = "",
    by: Annotated[str, typer.Option(help="With attest: who answers for it.")] = "",
    expires: Annotated[
        int | None, typer.Option(min=1, max=MOST_DAYS, help="With attest: days for which it counts, 90 by default.")
    ] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Audit repository and running service against numbered checks; give the maturity level and the next three steps.

    It changes nothing. With a key, a model answers two short questions. Exit code: 0; with --min-level 1 when a check
    that it needs fails, 4 when none fails and some could not be looked at.

    `attest` states what no program can see; the audit log keeps who, when and what. It counts while it has not expired
    and the log's chain holds, and never against what was seen.
    """
    del debug
    if action is Action.ATTEST:
        _attest(project, _wanted(item, statement, by, expires), as_json=as_json)
        return
    if statement or by or expires is not None:
        raise UsageError("--statement, --by and --expires belong to `shipway readiness attest ITEM`")
    shown = _Shape(Format.JSON if as_json else shape, output, _areas(only), min_level)
    if output is not None:
        require_writable_file(output, "--output")
    found = anyio.run(_audited, project, base_url(url) if url else "", _key(key_env))
    _show(found, shown)


def _key(variable: str) -> str:
    key = process_environment().get(variable, "").strip()
    if not key and variable != _KEY:
        raise UsageError(f"environment variable {variable} is not set or empty")
    return key


def _show(found: Audit, shown: _Shape) -> None:
    if shown.output is None:
        is_page = shown.shape is Format.MARKDOWN
        lines = markdown(found, shown.areas).splitlines() if is_page else text_lines(found, shown.areas)
        emit(as_dict(found, shown.areas), lines, as_json=shown.shape is Format.JSON)
    else:
        _write(shown.output, found, shown)
    raise typer.Exit(_exit_code(found, shown.min_level))


def _wanted(item: str | None, statement: str, by: str, expires: int | None) -> Statement:
    """Return what is to be stated.

    Raises:
        UsageError: an argument or option is missing.
    """
    if item is None:
        raise UsageError("attest needs the check", hint='`shipway readiness attest SEC-5 --statement "..." --by NAME`')
    for option, value in (("--statement", statement), ("--by", by)):
        if not value.strip():
            raise UsageError(
                f"attest needs {option}", hint='`shipway readiness attest SEC-5 --statement "..." --by NAME`'
            )
    return Statement(item, statement, by, _DAYS if expires is None else expires)


def _attest(project: Path | None, wanted: Statement, *, as_json: bool) -> None:
    where = stored(project, warn)

    async def act() -> Attestation:
        async with operated(where) as app:
            return await attest(app, wanted)

    made = anyio.run(act)
    until = datetime.fromtimestamp(made.expires_at_s, UTC).date().isoformat()
    emit(made, [f"{made.check} is stated by {made.by} until {until}: audit event {made.seq}"], as_json=as_json)


async def _audited(project: Path | None, url: str, key: str) -> Audit:
    loaded, where = examined(project)
    endpoints = where.running.status().endpoints if where.running.is_running() else None
    address = url or (endpoints.gateway if endpoints is not None else "")
    settings = loaded.project if isinstance(loaded, LoadedProject) else None

    async def probe(question: str) -> ServiceFacts:
        async with endpoint_caller() as caller:
            plan = ProbePlan(address, key, question) if question else ProbePlan(address, key)
            return await probe_service(caller, plan, settings)

    async with opened_or_why(project, loaded, where) as app:
        parts = CollectParts(
            where.workspace, loaded, GitHistory(), app, probe if address else None, SystemClock().now_s()
        )
        return audit(await collect(parts))


def _areas(only: str) -> tuple[Area, ...]:
    named = [word.strip().lower() for word in only.split(",") if word.strip()]
    known = {area.value: area for area in Area}
    for word in named:
        if word not in known:
            raise UsageError(f"--only: there is no area {word!r}", hint=f"areas are {', '.join(known)}")
    if only and not named:
        raise UsageError("--only names no area", hint=f"areas are {', '.join(known)}")
    return tuple(known[word] for word in named)


def _write(output: Path, found: Audit, shown: _Shape) -> None:
    if shown.shape is Format.JSON:
        text = orjson.dumps(as_dict(found, shown.areas), option=orjson.OPT_INDENT_2).decode() + "\n"
    elif shown.shape is Format.MARKDOWN:
        text = markdown(found, shown.areas)
    else:
        text = "\n".join(text_lines(found, shown.areas)) + "\n"
    with explained(output, "cannot be written"):
        output.write_text(text, encoding="utf-8")


def _exit_code(found: Audit, min_level: int | None) -> int:
    if min_level is None or found.level >= min_level:
        return 0
    states = {result.state for result in found.holding_up(min_level)}
    return _FAILS if State.FAIL in states else _UNDECIDED

"""`shipway dataset proposals`: cases proposed from what went wrong in production, decided by a person."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.wiring import opened
from shipway.evals.model import Split
from shipway.services.kept_texts import HOW_TO_KEEP
from shipway.services.proposals.deciding import Expectation, accept, exported, find_proposal, reject
from shipway.services.proposals.gathering import MOST_WAITING, Gathered, gather, stored_proposals
from shipway.services.proposals.model import Proposal, Status
from shipway.services.proposals.signals import LOST_DAYS

group = command_group("Cases proposed from production: failed canary requests, thumbs down, blocked requests.")

_SHOWN_CHARS = 60
ProposalArgument = Annotated[str, typer.Argument(help="A proposal's id or its beginning.")]


@group.command("list")
def list_(
    *,
    every: Annotated[bool, typer.Option("--all", help="Decided ones and duplicates too.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Propose what has gone wrong since the last look, and list what waits for a decision."""
    del debug

    async def read() -> tuple[Gathered, list[Proposal]]:
        async with opened(project) as app:
            gathered = await gather(app)
            found = await stored_proposals(app)
            return gathered, [one for one in found if every or one.status is Status.PROPOSED]

    gathered, found = anyio.run(read)
    rows = [_row(one) for one in found]
    header = ("proposal", "at", "route", "release", "status", "reasons", "question")
    lines = table(header, rows) if rows else ["no case is proposed"]
    value = {"gathered": gathered, "proposals": [one.to_dict() for one in found]}
    emit(value, [*lines, *_gathered_lines(gathered)], as_json=as_json)


@group.command()
def show(
    proposal: ProposalArgument,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a proposal's question, the answer that the user got, and why it is proposed."""
    del debug

    async def read() -> Proposal:
        async with opened(project) as app:
            return (await find_proposal(app, proposal))[0]

    found = anyio.run(read)
    emit(found.to_dict(), _shown(found), as_json=as_json)


@group.command("accept")
def accept_(
    proposal: ProposalArgument,
    reference: Annotated[str, typer.Option(help="A right answer; by default the user's own correction.")] = "",
    must_contain: Annotated[list[str] | None, typer.Option(help="A right answer contains this.")] = None,
    must_not_contain: Annotated[list[str] | None, typer.Option(help="A right answer does not contain this.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="A document that holds the answer.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag of the case, beside `production`.")] = None,
    split: Annotated[str, typer.Option(help="test (it judges) or calibration (it tunes).")] = "test",
    question: Annotated[str, typer.Option(help="Ask this instead, where masking took the sense.")] = "",
    dataset: Annotated[str, typer.Option(help="A .jsonl file or a name of `datasets`; by default evals.dataset.")] = "",
    *,
    unanswerable: Annotated[bool, typer.Option("--unanswerable", help="The only right answer is to decline.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Append a proposal to a dataset, with what a right answer is; audited."""
    del debug
    expectation = Expectation(
        reference=reference,
        must_contain=tuple(must_contain or ()),
        must_not_contain=tuple(must_not_contain or ()),
        sources=tuple(source or ()),
        unanswerable=unanswerable,
        tags=tuple(tag or ()),
        split=_split(split),
        question=question,
    )

    async def act() -> Proposal:
        async with opened(project) as app:
            return await accept(app, proposal, expectation, dataset=dataset)

    found = anyio.run(act)
    lines = [
        f"{found.id} is case {found.case_id!r} of {found.dataset}",
        "look at it: `shipway dataset check`; a gate counts it from the next evaluation on",
    ]
    emit(found.to_dict(), lines, as_json=as_json)


@group.command("reject")
def reject_(
    proposal: ProposalArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the audit log.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Keep a proposal out of the dataset; what asks the same is not proposed again. Audited."""
    del debug

    async def act() -> Proposal:
        async with opened(project) as app:
            return await reject(app, proposal, reason)

    found = anyio.run(act)
    emit(found.to_dict(), [f"{found.id} is rejected"], as_json=as_json)


@group.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="The .jsonl file to write.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write what waits for a decision as cases, for whoever decides elsewhere."""
    del debug
    if out.exists() and not force:
        raise UsageError(f"--out {out} is there already", hint="name another file, or add --force")
    require_writable_file(out, "--out")

    async def read() -> list[Proposal]:
        async with opened(project) as app:
            return [one for one in await stored_proposals(app) if one.status is Status.PROPOSED]

    found = anyio.run(read)
    with explained(out, "cannot be written"):
        out.write_bytes(exported(found))
    emit({"out": out, "cases": len(found)}, [f"{out}: {len(found)} proposed cases"], as_json=as_json)


def _split(name: str) -> Split:
    if name == "test":
        return "test"
    if name == "calibration":
        return "calibration"
    raise UsageError(f"--split {name!r}: test or calibration")


def _row(one: Proposal) -> list[str]:
    asked = " ".join(one.question.split())
    asked = asked if len(asked) <= _SHOWN_CHARS else f"{asked[: _SHOWN_CHARS - 1]}…"
    return [one.id, _at(one.at_s), one.route, one.release, one.status.value, "; ".join(one.reasons), asked]


def _gathered_lines(gathered: Gathered) -> list[str]:
    lines = [f"{gathered.proposed} new, {gathered.duplicates} ask what is asked already"] if gathered.proposed else []
    if gathered.no_room:
        lines.append(f"{gathered.no_room} were left out: {MOST_WAITING} wait for a decision already")
    if gathered.without_text:
        lines += [
            f"{gathered.without_text} requests of the last {LOST_DAYS} days went wrong whose text was not kept",
            HOW_TO_KEEP,
            "of a request that got no answer only `logging: { question: mask }` keeps the question",
        ]
    if gathered.awaiting_text:
        lines.append(f"{gathered.awaiting_text} have just gone wrong and have no text yet; look again in a minute")
    return lines


def _shown(one: Proposal) -> list[str]:
    facts = {
        "status": one.status.value,
        "request": one.request_id,
        "route": one.route,
        "release": f"{one.release} ({'candidate' if one.is_candidate else 'stable'})",
        "tenant": one.tenant or "-",
        "at": _at(one.at_s),
        "because": "; ".join(one.reasons),
    }
    lines = [one.id, *(f"  {name.ljust(8)}  {value}" for name, value in facts.items())]
    if one.duplicate_of:
        lines.append(f"  repeats   {one.duplicate_of}")
    if one.decided_by:
        lines.append(f"  decided   by {one.decided_by}, {_at(one.decided_at_s)}{f': {one.note}' if one.note else ''}")
    if one.case_id:
        lines.append(f"  case      {one.case_id} of {one.dataset}")
    lines += ["", "question", *_indented(one.question)]
    lines += ["", "answer", *(_indented(one.answer) if one.answer else ["  (not kept)"])]
    return lines + (["", "the user's correction", *_indented(one.correction)] if one.correction else [])


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _at(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")

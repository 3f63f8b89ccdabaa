"""The options of the commands of `shipway pipeline`."""

from dataclasses import dataclass
from typing import Annotated, get_args

import anyio
import typer

from shipway.adapters.git.changes import changed_files
from shipway.config.loading import LoadedProject
from shipway.config.sections.pipeline import Event, Part, Tier
from shipway.core.errors import UsageError
from shipway.entrypoints.wiring import opened
from shipway.pipeline.selection import Asked, Circumstance
from shipway.services.pipeline_compile import changed_parts
from shipway.services.released_commit import RELEASED, released_commit

_EVENTS, _PARTS, _TIERS = get_args(Event), get_args(Part), get_args(Tier)

Only = Annotated[str, typer.Option("--only", metavar="NAME", help="Run this stage alone; others as they last were.")]
From = Annotated[str, typer.Option("--from", metavar="NAME", help="Run this stage and all that need it.")]
Until = Annotated[str, typer.Option("--until", metavar="NAME", help="Run this stage and all that it needs.")]
TierOption = Annotated[str, typer.Option("--tier", metavar="TIER", help=f"Stages of one tier: {', '.join(_TIERS)}.")]
EventOption = Annotated[str, typer.Option("--event", metavar="EVENT", help=f"What started it: {', '.join(_EVENTS)}.")]
BranchOption = Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch, if not the one checked out.")]
ChangedOption = Annotated[
    str | None,
    typer.Option(
        "--changed", metavar="PART,...", help=f"Parts of the release that changed: {', '.join(_PARTS)}; '' for none."
    ),
]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since",
        metavar="COMMIT",
        help="Changed is what differs from this commit, such as origin/main; `released`: that of the stable release.",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run stages although their result is known.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processors to use; 0 for all.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End what runs as soon as a stage has failed.")]


def asked(only: str, start: str, until: str) -> Asked:
    """Return the part of a pipeline that was asked for."""
    return Asked(only=only, start=start, until=until)


def circumstance(event: str, branch: str, changed: str | None, tier: str) -> Circumstance:
    """Return what started a run.

    Raises:
        UsageError: an event, a part or a tier that there is not.
    """
    parts = None if changed is None else tuple(part.strip() for part in changed.split(",") if part.strip())
    _check("--event", (event,), _EVENTS)
    _check("--tier", (tier,) if tier else (), _TIERS)
    _check("--changed", parts or (), _PARTS)
    return Circumstance(event=event, branch=branch, changed=parts, tier=tier)


def since(loaded: LoadedProject, commit: str, changed: str | None) -> str | None:
    """Return what `--changed` says, or the parts that differ from a commit; all of them where git cannot say it.

    Raises:
        UsageError: both are given.
    """
    if not commit:
        return changed
    if changed is not None:
        raise UsageError("--since and --changed contradict each other", hint="give one of them")
    return ",".join(changes(loaded, commit).parts)


@dataclass(frozen=True, slots=True)
class Changes:
    """The parts of the release that differ from a commit; all of them where git does not know it."""

    commit: str
    parts: tuple[str, ...]
    known: bool


def changes(loaded: LoadedProject, since: str) -> Changes:
    """Return what differs from a commit, or from that of the stable release.

    Raises:
        NotFoundError: no release is stable.
        UsageError: no commit holds what that release was made of, or git does not know it here.
    """
    commit = anyio.run(_released, loaded) if since == RELEASED else since
    files = anyio.run(changed_files, loaded.root, commit)
    if files is None and since == RELEASED:
        raise UsageError(
            f"--since {RELEASED}: git does not know commit {commit} of the stable release here",
            hint=f"fetch it: git fetch origin {commit}",
        )
    return Changes(commit, changed_parts(loaded.project, files), files is not None)


async def _released(loaded: LoadedProject) -> str:
    async with opened(None, loaded=loaded) as app:
        return await released_commit(app)


def _check(option: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    for word in given:
        if word not in known:
            raise UsageError(f"{option}: there is no {word!r}", hint=f"there are {', '.join(known)}")

"""`shipway rag`: build the corpus and ask it."""

from typing import Annotated, Any

import anyio
import typer

from shipway.core.errors import NotFoundError
from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.cli.progress import bar
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.rag_parts import build_parts
from shipway.entrypoints.wiring import opened
from shipway.rag.answer import Answer
from shipway.services.application import Application
from shipway.services.corpora import report_as_dict

group = command_group("Build the corpus and ask it.")


@group.command()
def build(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Parse, chunk, embed and index the documents; only what changed is parsed and embedded again."""
    del debug

    reached = (0, 0)

    async def act() -> dict[str, Any]:
        async with opened(project) as app:
            with bar("embedding", shown=not as_json) as show:

                def progress(done: int, total: int) -> None:
                    nonlocal reached
                    reached = (done, total)
                    show(done, total)

                return report_as_dict(await corpora().build(app, build_parts(app), progress))

    try:
        done = anyio.run(act)
    except KeyboardInterrupt:
        typer.echo(_interrupted(*reached), err=True)
        raise
    lines = [
        f"{done['manifest']}",
        f"{done['documents']} documents ({done['added']} added, {done['changed']} changed, {done['removed']} removed)",
        f"{done['chunks']} chunks: {done['embedded']} embedded, {done['reused']} reused",
    ]
    emit(done, lines, as_json=as_json)


@group.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    tenant: Annotated[str, typer.Option(help="Whose documents.")],
    groups: Annotated[list[str] | None, typer.Option("--group", help="The asker's group; may be repeated.")] = None,
    release: Annotated[str, typer.Option(help="A release; by default what is stable now.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask a release a question, as somebody of a tenant and groups."""
    del debug

    async def act() -> Answer:
        async with opened(project) as app:
            found = await app.releases.get(release or await _stable(app))
            async with evaluation_targets(app) as targets:
                answerer = await targets.runtimes.answerer(found, targets.route(found))
                return await answerer.answer(
                    question, Principal(TenantId(tenant), frozenset(groups or ["public"]), "user:cli")
                )

    answer = anyio.run(act)
    value = {
        "answer": answer.text,
        "citations": list(answer.citations),
        "events": list(answer.events),
        "timings_ms": dict(answer.timings_ms),
    }
    lines = [
        answer.text,
        *(f"[{c.index}] {c.document} ({c.title}), characters {c.start}-{c.end}" for c in answer.citations),
    ]
    emit(value, lines, as_json=as_json)


def _interrupted(done: int, total: int) -> str:
    embedded = f" and {done} of {total} new chunks embedded" if total else ""
    return (
        f"shipway: the build was interrupted: documents parsed{embedded} are kept and the next `shipway rag build`"
        " goes on from there; the corpus built before stays in use"
    )


async def _stable(app: Application) -> str:
    stable = await app.releases.label(app.environment)
    if stable is not None:
        return stable
    made = await app.releases.list()
    raise NotFoundError(
        f"no release is deployed to {app.environment!r}, so there is nothing to ask",
        hint=f"name a release with --release, such as {made[-1].id}, or deploy one: `shipway deploy {made[-1].id}`"
        if made
        else "make one with `shipway release create`, then ask it with --release or `shipway deploy` it",
    )

"""`shipway doctor`: find what is wrong."""

import anyio
import typer

from shipway.adapters.sql import backup as store_backup
from shipway.entrypoints.cli.commands.local import local_of
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.corpus_parts import check_corpus
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.entrypoints.wiring import opened
from shipway.services.doctor import DoctorParts, Finding, diagnose


def doctor(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check disk, store, models, corpus, processes, rollout and audit log; exit 3 when something is broken."""
    del debug

    async def act() -> list[Finding]:
        local = local_of(project)
        async with opened(project) as app:
            parts = DoctorParts(
                local=local,
                check_store=lambda: store_backup.check(app.workspace.state_file),
                check_model=lambda model: LocalModelFiles().path(model, app.loaded.root),
                check_corpus=check_corpus,
            )
            return await diagnose(app, parts)

    findings = anyio.run(act)
    rows = [(finding.check, finding.state, finding.message) for finding in findings]
    fixes = [f"{finding.check}: {finding.fix}" for finding in findings if finding.fix]
    emit(findings, [*table(("check", "state", "what"), rows), *fixes], as_json=as_json)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(3)

"""`shipway doctor`: find what is wrong."""

from pathlib import Path

import anyio
import typer

from shipway.adapters.http_probe.probe import HttpProbe
from shipway.adapters.sql import backup as store_backup
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.corpus_parts import check_corpus
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.entrypoints.wiring import examined, opened_or_why
from shipway.services.doctor import DoctorParts, Finding, diagnose
from shipway.services.engines import engine_faults

_SHOWN = {"problem": "FAIL"}


def doctor(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check project, disk, store, models, engines, corpus, processes, rollout, audit log; exit 3 when one is broken."""
    del debug
    findings = anyio.run(_findings, project)
    rows = [(finding.check, _SHOWN.get(finding.state, finding.state), finding.message) for finding in findings]
    fixes = [f"{finding.check}: {finding.fix}" for finding in findings if finding.fix]
    emit(findings, [*table(("check", "state", "what"), rows), *fixes], as_json=as_json)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(3)


async def _findings(project: Path | None) -> list[Finding]:
    loaded, where = examined(project)
    async with opened_or_why(project, loaded, where) as app:
        parts = DoctorParts(
            workspace=where.workspace,
            running=where.running,
            probe=HttpProbe(),
            settings=loaded.project if isinstance(loaded, LoadedProject) else loaded,
            app=app,
            check_store=lambda: store_backup.check(where.workspace.state_file),
            check_model=lambda model: LocalModelFiles().path(model, where.workspace.root),
            check_retrieval=LocalModelFiles().retrieval,
            check_corpus=check_corpus,
            check_engines=lambda project: engine_faults(
                project, HttpProbe(), root=where.workspace.root, environ=process_environment()
            ),
        )
        return await diagnose(parts)

"""What is wrong with an installation, and what to do about it."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from shipway.core.errors import ShipwayError
from shipway.services.application import Application
from shipway.services.local import EMBEDDED_ENGINES, Local
from shipway.services.models import WITHOUT_MODEL

CheckState = Literal["ok", "warning", "problem"]
_LEAST_FREE_BYTES = 500_000_000
_STUCK_S = 600.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, what it is, and what to do when it is not well."""

    check: str
    state: CheckState
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class DoctorParts:
    """The collaborators of the checks."""

    local: Local
    check_store: Callable[[], Awaitable[list[str]]]
    check_model: Callable[[str], object]
    check_corpus: Callable[[Application], Awaitable[str]]


async def diagnose(app: Application, parts: DoctorParts) -> list[Finding]:
    """Run every check; a check that cannot run is itself a problem."""
    checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("disk", lambda: _disk(app)),
        ("store", lambda: _store(parts)),
        ("models", lambda: _models(app, parts)),
        ("corpus", lambda: _corpus(app, parts)),
        ("processes", lambda: _processes(parts)),
        ("rollout", lambda: _rollout(app)),
        ("audit", lambda: _audit(app)),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(await check())
        except ShipwayError as error:
            findings.append(Finding(name, "problem", error.message, error.hint))
    return findings


async def _disk(app: Application) -> Finding:
    free = shutil.disk_usage(app.loaded.root).free
    if free < _LEAST_FREE_BYTES:
        return Finding("disk", "problem", f"{free / 1e6:.0f} MB free", "make room: records are kept on this disk")
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free")


async def _store(parts: DoctorParts) -> Finding:
    faults = await parts.check_store()
    if faults:
        return Finding("store", "problem", "; ".join(faults), "restore a backup: `shipway db restore FILE`")
    return Finding("store", "ok", "sound")


async def _models(app: Application, parts: DoctorParts) -> Finding:
    wanted = [entry.model for entry in app.project.models.values() if entry.engine == "llamacpp"]
    if app.project.corpus is not None:
        named = (app.project.corpus.embedding, app.project.retrieval.reranker)
        wanted += [name for name in named if name and name != WITHOUT_MODEL]
    for model in wanted:
        parts.check_model(model)
    return Finding("models", "ok", f"{len(wanted)} installed" if wanted else "none needed")


async def _corpus(app: Application, parts: DoctorParts) -> Finding:
    if app.project.corpus is None:
        return Finding("corpus", "ok", "none declared")
    return Finding("corpus", "ok", await parts.check_corpus(app))


async def _processes(parts: DoctorParts) -> Finding:
    status = parts.local.status()
    if not status.running:
        return Finding("processes", "ok", "not running (`shipway up` starts them)")
    failing = [process for process in status.processes if process["problem"] or process["pid"] is None]
    if failing:
        name = failing[0]["name"]
        return Finding(
            "processes", "problem", f"{name}: {failing[0]['problem'] or 'not running'}", f"`shipway logs {name}`"
        )
    restarted = [f"{process['name']} {process['restarts']}x" for process in status.processes if process["restarts"]]
    if restarted:
        return Finding(
            "processes", "warning", "restarted: " + ", ".join(restarted), "look at their logs: `shipway logs NAME`"
        )
    if status.endpoints is not None:
        answer = await parts.local.probe.status(status.endpoints.gateway + "/ready")
        deployed = any(entry.engine in EMBEDDED_ENGINES for entry in parts.local.loaded.project.models.values())
        if deployed and (answer is None or answer[0] != _OK):
            what = "does not answer" if answer is None else answer[1][:200]
            return Finding(
                "processes", "warning", f"the gateway is not ready: {what}", "`shipway status`, `shipway logs gateway`"
            )
    return Finding("processes", "ok", f"{len(status.processes)} running")


async def _rollout(app: Application) -> Finding:
    snapshot = await app.state.snapshots.read(app.environment)
    if snapshot.rollout is None:
        return Finding("rollout", "ok", "none in progress")
    lease = await app.state.leases.read(f"rollouts/{app.environment}")
    silent_s = app.clock.now_s() - lease.renewed_at_s if lease else None
    if silent_s is None or silent_s > _STUCK_S:
        return Finding(
            "rollout", "problem", f"{snapshot.rollout}: nobody leads it", "start the control plane: `shipway up`"
        )
    return Finding("rollout", "ok", f"{snapshot.rollout} is led by {lease.holder if lease else '-'}")


async def _audit(app: Application) -> Finding:
    faults = await app.state.audit.verify()
    if faults:
        return Finding("audit", "problem", faults[0], "somebody changed the log: compare with a backup")
    return Finding("audit", "ok", "the chain holds")

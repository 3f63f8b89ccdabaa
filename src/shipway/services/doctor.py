"""What is wrong with an installation, and what to do about it."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from shipway.config.project import Project
from shipway.core.disk import obstacle, remedy
from shipway.core.errors import ShipwayError
from shipway.services.application import Application, Installation, Workspace
from shipway.services.engines import EngineFault
from shipway.services.hot_path import HotPath, hot_path
from shipway.services.local import EMBEDDED_ENGINES
from shipway.services.models import WITHOUT_MODEL, ModelKind
from shipway.services.running import Probe, Running

CheckState = Literal["ok", "warning", "problem", "skipped"]
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
    """The collaborators of the checks. What could not be had is the error that says why.

    `app` is None where no store was ever made: looking must not make one.
    """

    workspace: Workspace
    running: Running
    probe: Probe
    settings: Project | ShipwayError
    app: Installation | ShipwayError | None
    check_store: Callable[[], Awaitable[list[str]]]
    check_model: Callable[[str], object]
    check_retrieval: Callable[[str, ModelKind], object]
    check_corpus: Callable[[Application], Awaitable[str]]
    check_engines: Callable[[Project], Awaitable[list[EngineFault]]] | None = None
    hot_path: Callable[[], HotPath] = hot_path


class _SkippedError(Exception):
    """What a check needs is missing; another row says why."""


async def diagnose(parts: DoctorParts) -> list[Finding]:
    """Run every check; a check that cannot run is itself a problem, and the next ones run all the same."""
    checks: dict[str, Callable[[DoctorParts], Awaitable[Finding]]] = {
        "config": _config,
        "disk": _disk,
        "store": _store,
        "models": _models,
        "engines": _engines,
        "corpus": _corpus,
        "processes": _processes,
        "records": _records,
        "rollout": _rollout,
        "audit": _audit,
        "hot path": _hot_path,
    }
    return [await _checked(name, check, parts) for name, check in checks.items()]


async def _checked(name: str, check: Callable[[DoctorParts], Awaitable[Finding]], parts: DoctorParts) -> Finding:
    try:
        return await check(parts)
    except _SkippedError as reason:
        return Finding(name, "skipped", str(reason))
    except ShipwayError as error:
        return Finding(name, "problem", error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - whatever is broken here, the other checks must be seen
        return Finding(name, "problem", f"the check failed: {type(error).__name__}: {error}", "run `shipway db check`")


def _settings(parts: DoctorParts) -> Project:
    if isinstance(parts.settings, ShipwayError):
        raise _SkippedError("needs a project file that can be read")
    return parts.settings


def _app(parts: DoctorParts) -> Installation:
    if isinstance(parts.app, ShipwayError):
        raise _SkippedError("needs a store that can be opened")
    if parts.app is None:
        raise _SkippedError("nothing was stored here yet")
    return parts.app


async def _config(parts: DoctorParts) -> Finding:
    if isinstance(parts.settings, ShipwayError):
        return Finding("config", "problem", parts.settings.message, parts.settings.hint or "`shipway config check`")
    return Finding("config", "ok", f"valid, {len(parts.settings.routes)} routes")


async def _disk(parts: DoctorParts) -> Finding:
    root = parts.workspace.root
    found = obstacle(parts.workspace.state_file)
    if found:
        return Finding("disk", "problem", found, remedy(parts.workspace.state_file))
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE_BYTES:
        return Finding("disk", "problem", f"{free / 1e6:.0f} MB free", "make room: records are kept on this disk")
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free")


async def _store(parts: DoctorParts) -> Finding:
    if isinstance(parts.app, ShipwayError):
        return Finding("store", "problem", parts.app.message, parts.app.hint)
    if parts.app is None:
        return Finding("store", "ok", "none yet; the first command that stores something makes it")
    faults = await parts.check_store()
    if faults:
        return Finding("store", "problem", "; ".join(faults), "restore a backup: `shipway db restore FILE`")
    return Finding("store", "ok", "sound")


async def _models(parts: DoctorParts) -> Finding:
    project = _settings(parts)
    generators = [entry.model for entry in project.models.values() if entry.engine == "llamacpp"]
    for model in generators:
        parts.check_model(model)
    finders = _retrieval_models(project)
    for model, kind in finders:
        parts.check_retrieval(model, kind)
    needed = len(generators) + len(finders)
    return Finding("models", "ok", f"{needed} installed" if needed else "none needed")


def _retrieval_models(project: Project) -> list[tuple[str, ModelKind]]:
    if project.corpus is None:
        return []
    named: tuple[tuple[str | None, ModelKind], ...] = (
        (project.corpus.embedding, "embedding"),
        (project.retrieval.reranker, "reranker"),
    )
    return [(model, kind) for model, kind in named if model is not None and model != WITHOUT_MODEL]


async def _engines(parts: DoctorParts) -> Finding:
    project = _settings(parts)
    elsewhere = [alias for alias, entry in project.models.items() if entry.engine not in EMBEDDED_ENGINES]
    if not elsewhere or parts.check_engines is None:
        return Finding("engines", "ok", "none runs elsewhere")
    faults = await parts.check_engines(project)
    if faults:
        told = "; ".join(f"{fault.alias}: {fault.what}" for fault in faults)
        return Finding("engines", "problem", told, faults[0].fix)
    return Finding("engines", "ok", f"{', '.join(elsewhere)}: answering")


async def _corpus(parts: DoctorParts) -> Finding:
    if _settings(parts).corpus is None:
        return Finding("corpus", "ok", "none declared")
    if parts.app is None:
        return Finding("corpus", "warning", "it has not been built", "run `shipway rag build`")
    app = _app(parts)
    if not isinstance(app, Application):
        raise _SkippedError("needs a project file that can be read")
    return Finding("corpus", "ok", await parts.check_corpus(app))


async def _processes(parts: DoctorParts) -> Finding:
    status = parts.running.status()
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
        answer = await parts.probe.status(status.endpoints.gateway + "/ready")
        settings = parts.settings
        embedded = isinstance(settings, ShipwayError) or any(
            entry.engine in EMBEDDED_ENGINES for entry in settings.models.values()
        )
        if embedded and (answer is None or answer[0] != _OK):
            what = "does not answer" if answer is None else answer[1][:200]
            return Finding(
                "processes", "warning", f"the gateway is not ready: {what}", "`shipway status`, `shipway logs gateway`"
            )
    return Finding("processes", "ok", f"{len(status.processes)} running")


async def _records(parts: DoctorParts) -> Finding:
    backlog = parts.running.backlog()
    if backlog.trouble is not None:
        return Finding("records", "warning", *backlog.trouble)
    return Finding("records", "ok", "collected" if backlog.is_collected else "none wait")


async def _rollout(parts: DoctorParts) -> Finding:
    app = _app(parts)
    if not app.environment:
        raise _SkippedError("needs a project file that can be read")
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


async def _audit(parts: DoctorParts) -> Finding:
    faults = await _app(parts).state.audit.verify()
    if faults:
        return Finding("audit", "problem", faults[0], "somebody changed the log: compare with a backup")
    return Finding("audit", "ok", "the chain holds")


async def _hot_path(parts: DoctorParts) -> Finding:
    found = parts.hot_path()
    if found.passed_over:
        what = (
            f"{len(found.passed_over)} of {found.compiled} compiled modules are not for this Python: their source runs"
        )
        return Finding("hot path", "warning", what, "build the wheel with this Python: docs/how-to/run-faster.md")
    return Finding("hot path", "ok", f"compiled ({found.compiled} modules)" if found.compiled else "python")

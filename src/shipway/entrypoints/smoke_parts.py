"""Who is asked by smoke checks, and where their evidence is; `eval smoke` and the stage `smoke` run them."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from shipway.config.environment import process_environment
from shipway.config.loading import find_root, load_project
from shipway.core.clock import SystemClock
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.findings import FindingReport
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.wiring import opened
from shipway.evals.smoke import Deployed, KnownDocument, SmokeCheck, default_checks
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.running import require_endpoints
from shipway.services.smoke import (
    Asker,
    Endpoint,
    Evidence,
    GatewayEvidence,
    MetricsOnly,
    NoEvidence,
    OpenedRelease,
    SmokeTarget,
    Waiting,
    known_document,
    load_smoke,
    run_smoke,
)

# With the first release that is opened: it loads what serves one.
_TARGETS = "shipway.entrypoints.evaluation_parts"


@dataclass(frozen=True, slots=True)
class SmokeAsked:
    """What the options say."""

    file: Path | None
    url: str
    release: str
    route: str
    key: str


@dataclass(frozen=True, slots=True)
class SmokePlace:
    """Who is asked, where the evidence is, and what the default suite is made for."""

    target: SmokeTarget
    evidence: Evidence
    deployed: Deployed


async def smoke_report(project: Path | None, asked: SmokeAsked) -> tuple[FindingReport, list[str]]:
    """Run the checks and return what they found, with notes on what the default suite leaves out."""
    checks = await load_smoke(asked.file) if asked.file is not None else None
    async with _place(project, asked) as place:
        notes: list[str] = []
        if checks is None:
            checks, notes = default_checks(_narrowed(place.deployed, asked.route))
        routed = [_with_route(check, place.deployed) for check in checks]
        told = [asked.key] if asked.key else []
        return await run_smoke(routed, place.target, place.evidence, Waiting(SystemClock()), told), notes


@asynccontextmanager
async def _place(project: Path | None, asked: SmokeAsked) -> AsyncIterator[SmokePlace]:
    """Open what is asked; a file of checks and an address need no project."""
    if asked.file is not None and asked.url and not _is_project(project):
        async with endpoint_caller() as caller:
            endpoint = Endpoint(caller, asked.url, asked.key, asked.release, _trace_id)
            yield SmokePlace(endpoint, MetricsOnly(endpoint), Deployed({}))
        return
    async with opened(project) as app:
        if asked.release and not asked.url:
            async with _opened_release(app, asked.release) as place:
                yield place
            return
        async with endpoint_caller() as caller:
            address = asked.url or require_endpoints(app.workspace).gateway.rstrip("/")
            pinned = (await app.releases.get(asked.release)).id if asked.release else ""
            endpoint = Endpoint(caller, address, asked.key, pinned, _trace_id)
            routes = {name: entry.kind for name, entry in app.project.routes.items()}
            known = None if asked.file else await _known(app, asked.key)
            is_traced = app.project.telemetry.traces.exporter != "none"
            deployed = Deployed(dict(routes), known, is_traced=is_traced)
            yield SmokePlace(endpoint, GatewayEvidence(endpoint, app.state.records.find), deployed)


@asynccontextmanager
async def _opened_release(app: Application, name: str) -> AsyncIterator[SmokePlace]:
    found = await app.releases.get(name)
    async with import_module(_TARGETS).evaluation_targets(app) as targets, targets.opened(found) as target:
        route = targets.route(found)
        kind = found.manifest["policy"]["routes"][route]["kind"]
        known = known_document(await _dataset(app), None)
        reason = "a release that is asked directly has no gateway"
        yield SmokePlace(OpenedRelease(target), NoEvidence(reason), Deployed({route: kind}, known, is_gateway=False))


async def _dataset(app: Application) -> Any:
    return await load_project_dataset(app.loaded, "")


async def _known(app: Application, key: str) -> KnownDocument | None:
    """Return a question whose document the key may see; of a key of another store nobody knows what it may see."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = next((entry for entry in await app.state.keys.list() if entry.sha256 == digest), None)
    return known_document(await _dataset(app), Asker(entry.tenant, frozenset(entry.groups))) if entry else None


def own_suite(project: Path | None) -> Path | None:
    """Return the suite that the project names; none where there is no project."""
    try:
        root = find_root((project or Path.cwd()).resolve())
    except NotFoundError:
        return None
    named = load_project(root, process_environment()).project.evals.smoke
    if named is None:
        return None
    file, here = root / named, Path.cwd().resolve()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _is_project(project: Path | None) -> bool:
    try:
        find_root((project or Path.cwd()).resolve())
    except NotFoundError:
        return False
    return True


def _narrowed(deployed: Deployed, route: str) -> Deployed:
    if not route:
        return deployed
    if route not in deployed.routes:
        raise UsageError(f"--route: there is no route {route!r}", hint=f"known: {', '.join(deployed.routes)}")
    return replace(deployed, routes={route: deployed.routes[route]})


def _with_route(check: SmokeCheck, deployed: Deployed) -> SmokeCheck:
    """Give a check that names no route the only one there is."""
    if check.route or not check.prompt:
        return check
    if len(deployed.routes) != 1:
        known = ", ".join(deployed.routes) or "whatever the service calls its models"
        raise UsageError(f"{check.location}: route: is missing", hint=f"name one: {known}")
    return replace(check, route=next(iter(deployed.routes)))


def _trace_id() -> str:
    return secrets.token_hex(16)

"""The real state that runbooks are filled in with; whatever cannot be known is a line that says so.

Nothing here changes anything, and everything works while the project file is broken: that is when runbooks are read.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from shipway.config.project import Project
from shipway.core.errors import NotFoundError, ShipwayError
from shipway.core.ports import WorkerState
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.core.switches import Switch
from shipway.registry.model import Release
from shipway.registry.store import LabelEntry
from shipway.services.application import Installation
from shipway.services.release_differences import ComparedReleases, compared_releases
from shipway.services.rollbacks import RollbackPlan, plan_roll_back
from shipway.services.rollouts import controller_runs, list_rollouts, view
from shipway.services.runbooks.figures import Figure, figures_of, recent_records
from shipway.services.running import LocalStatus

_SEEN_WITHIN_S = 10.0
_AUDIT_PAGE = 1000


@dataclass(frozen=True, slots=True)
class FactParts:
    """What is known beside the store.

    `settings` is the project, or what is wrong with its file. `corpus` says whether the documents are those that the
    corpus was built from; it is asked by the runbook on a stale index alone.
    """

    app: str
    settings: Project | ShipwayError
    status: LocalStatus
    window_s: float
    corpus: Callable[[], Awaitable[str]] | None = None
    verify_audit: bool = False

    @property
    def project(self) -> Project | None:
        """Return the settings, None when the file is broken."""
        return self.settings if isinstance(self.settings, Project) else None


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """The documents that stable answers from: the corpus it pins, since when that is built, and its size.

    `newest` is the corpus that the next release would pin; `documents` says whether the sources have changed since.
    """

    pinned: str
    built_at_s: float | None
    newest: str
    size: str
    documents: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One installation at one moment; `unknown` is what could not be found out and why."""

    app: str
    environment: str
    folder: str
    at_s: float
    window_s: float
    project: Project | None
    status: LocalStatus
    snapshot: Snapshot
    workers: tuple[WorkerState, ...]
    controller: bool
    rollout: dict[str, Any] | None
    history: tuple[LabelEntry, ...]
    stable: Release | None
    way_back: RollbackPlan | None
    no_way_back: str
    changes: ComparedReleases | None
    records: tuple[ServedRequest, ...]
    figures: tuple[Figure, ...]
    corpus: CorpusFacts | None
    audit: tuple[str, ...] | None
    unknown: tuple[str, ...]

    @property
    def routes(self) -> tuple[RouteTraffic, ...]:
        """Return how the routes divide their traffic."""
        return self.snapshot.routes

    @property
    def switches(self) -> tuple[Switch, ...]:
        """Return the switches in force; one that has expired stays in the snapshot until somebody writes a new one."""
        return tuple(switch for switch in self.snapshot.switches if switch.is_on(self.at_s))

    @property
    def left(self) -> str:
        """Return the release that was left last: a rolled-back candidate, or the one that was stable before."""
        if self.rollout is not None and self.rollout["state"] in {"rolled_back", "rolling_back"}:
            return str(self.rollout["candidate"])
        earlier = [entry.release for entry in self.history if entry.release != self.history[-1].release]
        return str(earlier[-1]) if earlier else ""


async def collect(app: Installation, parts: FactParts) -> Facts:
    """Look at everything once."""
    unknown: list[str] = []
    if parts.project is None:
        unknown.append(f"the project file cannot be read, so contacts and models are not known: {parts.settings}")
    if not parts.status.running:
        unknown.append("nothing runs here (`shipway up` starts it); what is shown of traffic is what was ordered last")
    now_s, state = app.clock.now_s(), app.state
    rollouts = await list_rollouts(app)
    records = await recent_records(state.records, app.environment, since_s=now_s - parts.window_s)
    if not records:
        unknown.append(f"no request was served in the last {parts.window_s:g} s, so there are no figures")
    history = tuple(await app.releases.label_history(app.environment))
    stable = await app.releases.get(history[-1].release) if history else None
    way_back, no_way_back = await _way_back(app)
    return Facts(
        app=parts.app,
        environment=app.environment,
        folder=str(app.workspace.root),
        at_s=now_s,
        window_s=parts.window_s,
        project=parts.project,
        status=parts.status,
        snapshot=await state.snapshots.read(app.environment),
        workers=tuple(await state.snapshots.workers(app.environment, seen_after_s=now_s - _SEEN_WITHIN_S)),
        controller=await controller_runs(app),
        rollout=view(rollouts[-1]) if rollouts else None,
        history=history,
        stable=stable,
        way_back=way_back,
        no_way_back=no_way_back,
        changes=await _changes(app, way_back, unknown),
        records=tuple(records),
        figures=figures_of(records),
        corpus=await _corpus(app, stable, parts),
        audit=tuple(await state.audit.verify()) if parts.verify_audit else None,
        unknown=tuple(unknown),
    )


async def _way_back(app: Installation) -> tuple[RollbackPlan | None, str]:
    try:
        return await plan_roll_back(app), ""
    except ShipwayError as error:
        return None, f"{error.message}{f' ({error.hint})' if error.hint else ''}"


async def _changes(app: Installation, plan: RollbackPlan | None, unknown: list[str]) -> ComparedReleases | None:
    if plan is None or plan.leaves is None:
        return None
    try:
        left = await app.releases.get(plan.leaves)
    except NotFoundError as error:
        unknown.append(f"what changed is not known: {error.message}")
        return None
    return await compared_releases(app.state.blobs, plan.release, left)


async def _corpus(app: Installation, stable: Release | None, parts: FactParts) -> CorpusFacts | None:
    pinned = stable.manifest["data"]["corpus"] if stable is not None else None
    current = await app.state.documents.get("corpus", "current")
    if pinned is None and current is None:
        return None
    body = current[0] if current is not None else {}
    digest = str(pinned["manifest"]) if pinned is not None else ""
    size = f"{body['documents']} documents, {body['chunks']} chunks" if body else "not known"
    said = "not looked at"
    if parts.corpus is not None:
        try:
            said = await parts.corpus()
        except ShipwayError as error:
            said = error.message
    return CorpusFacts(digest, await _built_at(app, digest), str(body.get("manifest", "")), size, said)


async def _built_at(app: Installation, digest: str) -> float | None:
    """Return when a corpus was built; the audit log knows."""
    found: float | None = None
    after = 0
    while digest and (page := await app.state.audit.entries(after=after, limit=_AUDIT_PAGE)):
        after = page[-1].seq
        for entry in page:
            if entry.action == "corpus.built" and entry.subject == digest:
                found = entry.at_s
    return found

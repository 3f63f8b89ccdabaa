"""Looking at a project once, for an audit: files, git, settings, cases, store, logs, the running service.

`shipway readiness` calls it. What cannot be looked at is an `Absent`, never an empty answer; nothing is changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.core.errors import ShipwayError
from shipway.core.observation import THUMBS
from shipway.core.ports import AuditEvent, State
from shipway.readiness.facts import Absent, DatasetFacts, Facts, GitFacts, LogFacts, ServiceFacts, StoreFacts
from shipway.services.application import Installation, Workspace
from shipway.services.project_dataset import whole_dataset
from shipway.services.readiness.attestations import attestations
from shipway.services.readiness.files import read_repository
from shipway.services.readiness.logs import read_logs

UP = "start the service (`shipway up`), or name it: `shipway readiness --url ADDRESS`"
_AUDIT_PAGE = 5000
_RECORDS_PAGE = 5000
_NEWEST_RECORDS = 50_000
_REFUSED = 429


class History(Protocol):
    """Where files and their commits are known."""

    async def read(self, root: Path, files: Sequence[str]) -> GitFacts | None:
        """Return the history of a folder and of files in it, None without one."""
        ...

    async def files(self, root: Path) -> frozenset[str] | None:
        """Return what a checkout holds and what would be committed next, None without git."""
        ...


@dataclass(frozen=True, slots=True)
class CollectParts:
    """Who looks. `app` is None where no store was ever made; `probe` is None when nothing runs and none is named."""

    workspace: Workspace
    settings: LoadedProject | ShipwayError
    history: History
    app: Installation | ShipwayError | None
    probe: Callable[[str], Awaitable[ServiceFacts]] | None
    now_s: float


async def collect(parts: CollectParts) -> Facts:
    """Look at everything once."""
    root, loaded = parts.workspace.root, parts.settings
    repository = await anyio.to_thread.run_sync(read_repository, root, await parts.history.files(root))
    prompts = list(loaded.project.prompts.values()) if isinstance(loaded, LoadedProject) else []
    git = await parts.history.read(root, prompts)
    dataset, question = await _dataset(loaded)
    store, events = await _store(parts.app)
    return Facts(
        repository=repository,
        git=git or Absent("the folder has no git history", "`git init`, then commit"),
        settings=loaded if isinstance(loaded, LoadedProject) else Absent(loaded.message, "`shipway config check`"),
        dataset=dataset,
        store=store,
        logs=await anyio.to_thread.run_sync(_logs, parts.workspace),
        service=Absent("no service was asked", UP) if parts.probe is None else await _service(parts.probe, question),
        now_s=parts.now_s,
        attestations=tuple(attestations(events)),
    )


async def _service(probe: Callable[[str], Awaitable[ServiceFacts]], question: str) -> ServiceFacts | Absent:
    found = await probe(question)
    return found if found.answers else Absent(f"nobody answers at {found.url}", UP)


async def _dataset(loaded: LoadedProject | ShipwayError) -> tuple[DatasetFacts | Absent, str]:
    """Return the cases, and a question that has an answer."""
    if isinstance(loaded, ShipwayError):
        return Absent("the project file cannot be read", "`shipway config check`"), ""
    try:
        dataset = await whole_dataset(loaded)
    except ShipwayError as error:
        return Absent(error.message, "`shipway dataset check`"), ""
    questions = [" ".join(case.question.casefold().split()) for case in dataset.cases]
    first = dataset.cases[0].question if dataset.cases else ""
    return DatasetFacts(loaded.project.evals.dataset, len(questions), len(set(questions))), first


async def _store(app: Installation | ShipwayError | None) -> tuple[StoreFacts | Absent, list[AuditEvent]]:
    if app is None:
        return Absent(
            "nothing was stored here yet", "`shipway up`, `shipway release create`, `shipway deploy RELEASE`"
        ), []
    if isinstance(app, ShipwayError):
        return Absent(app.message, "`shipway doctor`"), []
    events = await _events(app.state)
    refused, shadowed = await _records(app)
    stable, pinned = await _stable(app)
    current = await app.state.documents.get("corpus", "current")
    facts = StoreFacts(
        environment=app.environment,
        events=tuple(events),
        faults=tuple(await app.state.audit.verify()),
        stable=stable,
        corpus=str(current[0].get("manifest", "")) if current is not None else "",
        stable_corpus=pinned,
        feedback=len(await app.state.observations.after(0, environment=app.environment, kinds=(THUMBS,))),
        refused=refused,
        shadowed=shadowed,
    )
    return facts, events


async def _events(state: State) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    while page := await state.audit.entries(after=events[-1].seq if events else 0, limit=_AUDIT_PAGE):
        events += page
    return events


async def _records(app: Installation) -> tuple[int, int]:
    """Return how many of the newest requests were refused, and how many were shadow copies."""
    refused = shadowed = 0
    position = max(0, await app.state.records.last_position() - _NEWEST_RECORDS)
    while page := await app.state.records.after(position, environment=app.environment, limit=_RECORDS_PAGE):
        position = page[-1].position
        refused += sum(item.record.status == _REFUSED for item in page)
        shadowed += sum(bool(item.record.shadow_of) for item in page)
    return refused, shadowed


async def _stable(app: Installation) -> tuple[str, str]:
    """Return the release that is served and the corpus that it pins."""
    history = await app.releases.label_history(app.environment)
    if not history:
        return "", ""
    release = await app.releases.get(history[-1].release)
    pinned = release.manifest["data"]["corpus"]
    return str(release.id), str(pinned["manifest"]) if pinned is not None else ""


def _logs(workspace: Workspace) -> LogFacts | Absent:
    if not workspace.logs.is_dir():
        return Absent("nothing has logged here yet", "`shipway up`, then ask it something")
    try:
        return read_logs(workspace.logs)
    except OSError as error:
        return Absent(f"the logs cannot be read: {error.strerror}", "look at .shipway/logs")

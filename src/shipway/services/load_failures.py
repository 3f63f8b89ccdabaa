"""Releases that a gateway worker could not load, written down where the rollout controller finds them.

The gateway process wraps its loader in `ReportingLoader`; `http_processes.ProcessTarget` reads for the controller.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from shipway.core.clock import Clock
from shipway.core.errors import ShipwayError, StoreError
from shipway.core.ids import ReleaseId
from shipway.core.ports import DocumentStore
from shipway.gateway.ports import ReleaseLoader, ReleaseRuntime

_KIND = "load_failure"
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class LoadFailures:
    """The failures of one environment: one document for each worker and release, gone once the release loads there."""

    documents: DocumentStore
    environment: str

    async def note(self, release: ReleaseId, worker: str, problem: str, *, at_s: float) -> None:
        """Write down that a worker could not load a release."""
        body = {"release": release, "worker": worker, "problem": problem, "at_s": at_s}
        await self.documents.put(_KIND, self._key(release, worker), body)

    async def clear(self, release: ReleaseId, worker: str) -> None:
        """Forget a worker's failure."""
        await self.documents.delete(_KIND, self._key(release, worker))

    async def problem(self, release: ReleaseId, *, since_s: float) -> str:
        """Return what a worker said of a release at or after `since_s` (Unix time); empty when none failed."""
        for _, body, _ in await self.documents.list(_KIND, prefix=self._key(release, "")):
            if body["at_s"] >= since_s:
                return f"{body['worker']} cannot load {release}: {body['problem']}"
        return ""

    def _key(self, release: ReleaseId, worker: str) -> str:
        return f"{self.environment}/{release}/{worker}"


class ReportingLoader:
    """A loader whose failures are written down; implements `gateway.ports.ReleaseLoader`.

    A failure that may pass, as an engine that is starting, is written down when it has come three times in a row.
    """

    def __init__(self, loader: ReleaseLoader, failures: LoadFailures, worker: str, clock: Clock) -> None:
        self._loader = loader
        self._failures = failures
        self._worker = worker
        self._clock = clock
        self._tries: Counter[ReleaseId] = Counter()

    async def load(self, release: ReleaseId) -> ReleaseRuntime:
        """Return the runtime; a failure is written down before it is raised."""
        try:
            runtime = await self._loader.load(release)
        except Exception as error:
            self._tries[release] += 1
            if not _may_pass(error) or self._tries[release] >= _PATIENCE:
                await self._note(release, error)
            raise
        del self._tries[release]
        # The controller looks at failures of its own rollout alone, so one that stays does little harm.
        with suppress(StoreError):
            await self._failures.clear(release, self._worker)
        return runtime

    async def _note(self, release: ReleaseId, error: Exception) -> None:
        said = error.message if isinstance(error, ShipwayError) else f"{type(error).__name__}: {error}"
        # One line: what else an error carries is in the worker's log. The watcher tries again, and so does this note.
        with suppress(StoreError):
            await self._failures.note(release, self._worker, said.partition("\n")[0], at_s=self._clock.now_s())


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ShipwayError) and error.retryable

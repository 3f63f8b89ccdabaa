"""Processes of a release that end again and again and never get healthy, written down for the rollout controller.

The supervisor's side (`http_processes.HttpProcesses`) looks on with a `StartWatch`; `ProcessTarget` reads.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.ports import DocumentStore
from shipway.operations.supervision import ProcessState

_KIND = "start_failure"
ENOUGH_ENDS = 5
"""With the supervisor's pauses these take three seconds; a missing module does not go away by waiting longer."""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """A process that ended `ends` times, for the first time at `first_s` (Unix time), and never was healthy.

    `exit_code` is the last one, negative for a signal; None when its program cannot even be started.
    """

    process: str
    ends: int
    exit_code: int | None
    problem: str
    first_s: float

    @property
    def text(self) -> str:
        """Return it as a reason to give the release up."""
        how = self.problem if self.exit_code is None else f"the last time with exit code {self.exit_code}"
        return (
            f"{self.process} ended {self.ends} times and was never healthy ({how});"
            f" `shipway logs {self.process}` says more"
        )


@dataclass(frozen=True, slots=True)
class StartFailures:
    """The failures of one environment: one document for each process, gone once the process is healthy."""

    documents: DocumentStore
    environment: str

    async def note(self, release: ReleaseId, failure: StartFailure) -> None:
        """Write down that a process of a release cannot be started."""
        await self.documents.put(_KIND, self._key(release, failure.process), asdict(failure))

    async def clear(self, release: ReleaseId, process: str) -> None:
        """Forget a process's failure."""
        await self.documents.delete(_KIND, self._key(release, process))

    async def problem(self, release: ReleaseId, *, since_s: float) -> str:
        """Return which process of a release only ended since `since_s` (Unix time); empty when none did."""
        for _, body, _ in await self.documents.list(_KIND, prefix=self._key(release, "")):
            failure = StartFailure(**body)
            if failure.first_s >= since_s:
                return failure.text
        return ""

    def _key(self, release: ReleaseId, process: str) -> str:
        return f"{self.environment}/{release}/{process}"


@dataclass(slots=True)
class _Seen:
    """What is known of a process since it is wanted; `attempt` is the supervisor's."""

    attempt: int = 0
    served: bool = False
    first_s: float | None = None
    settled: bool = False


class StartWatch:
    """Follows wanted processes from their first start on; what was healthy once is not its concern any more."""

    def __init__(self, failures: StartFailures, clock: Clock) -> None:
        self._failures = failures
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def look(
        self, wanted: Iterable[tuple[str, ReleaseId]], healthy: Collection[str], states: Iterable[ProcessState]
    ) -> None:
        """Note which of the `wanted` (process and release) cannot be started; `states` are the supervisor's."""
        known = {state.name: state for state in states}
        releases = dict(wanted)
        # Who is wanted again gets as many starts as before.
        self._seen = {name: seen for name, seen in self._seen.items() if name in releases}
        for name, release in releases.items():
            attempt = known[name].attempt if name in known else 0
            seen = self._seen.get(name)
            if seen is None or seen.attempt != attempt:
                seen = self._seen[name] = _Seen(attempt)
            if name in healthy and not seen.served:
                await self._failures.clear(release, name)
                seen.served = seen.settled = True
            if name in known and not seen.settled:
                await self._count(seen, release, known[name])

    async def _count(self, seen: _Seen, release: ReleaseId, state: ProcessState) -> None:
        if state.restarts and seen.first_s is None:
            seen.first_s = self._clock.now_s()
        if state.restarts < ENOUGH_ENDS or seen.first_s is None:
            return
        failure = StartFailure(state.name, state.restarts, state.last_exit, state.problem, seen.first_s)
        await self._failures.note(release, failure)
        seen.settled = True

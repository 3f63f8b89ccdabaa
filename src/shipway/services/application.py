"""What every use case works on: the loaded project, its folders, its state, a clock and who asks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import Clock
from shipway.core.ports import AuditEvent, State
from shipway.registry.store import ReleaseRegistry


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one installation, all below `.shipway` beside the project file."""

    root: Path

    @property
    def home(self) -> Path:
        """Return `.shipway`."""
        return self.root / ".shipway"

    @property
    def state_file(self) -> Path:
        """Return the store's file."""
        return self.home / "state.db"

    @property
    def spool(self) -> Path:
        """Return where records wait for the store."""
        return self.home / "spool"

    @property
    def collector_lock(self) -> Path:
        """Return the file that the collector of records keeps locked while it lives."""
        return self.spool / "collector.lock"

    @property
    def corpora(self) -> Path:
        """Return where corpora are built."""
        return self.home / "corpora"

    @property
    def run(self) -> Path:
        """Return where running processes are listed."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """Return where processes log."""
        return self.home / "logs"

    @property
    def services(self) -> Path:
        """Return where the code of http releases is laid out to run."""
        return self.home / "services"


class Installation(Protocol):
    """What can be operated without the settings: a project file that does not parse must not stop a rollback."""

    @property
    def workspace(self) -> Workspace:
        """Return its folders."""
        ...

    @property
    def state(self) -> State:
        """Return its stores."""
        ...

    @property
    def clock(self) -> Clock:
        """Return where time is read."""
        ...

    @property
    def actor(self) -> str:
        """Return who asks."""
        ...

    @property
    def environment(self) -> str:
        """Return the environment's name."""
        ...

    @property
    def releases(self) -> ReleaseRegistry:
        """Return the release registry."""
        ...

    async def audit(self, action: str, subject: str, **details: object) -> AuditEvent:
        """Append an event of this actor to the audit log."""
        ...


@dataclass(frozen=True, slots=True)
class RunningInstallation:
    """An `Installation` by what `up` recorded of it."""

    environment: str
    workspace: Workspace
    state: State
    clock: Clock
    actor: str

    @property
    def releases(self) -> ReleaseRegistry:
        """Return the release registry."""
        return ReleaseRegistry(self.state.documents)

    async def audit(self, action: str, subject: str, **details: object) -> AuditEvent:
        """Append an event of this actor to the audit log."""
        return await _audited(self, action, subject, details)


@dataclass(frozen=True, slots=True)
class Application:
    """One project, opened for a use case."""

    loaded: LoadedProject
    workspace: Workspace
    state: State
    clock: Clock
    actor: str

    @property
    def project(self) -> Project:
        """Return the settings."""
        return self.loaded.project

    @property
    def environment(self) -> str:
        """Return the environment's name."""
        return self.loaded.environment

    @property
    def releases(self) -> ReleaseRegistry:
        """Return the release registry."""
        return ReleaseRegistry(self.state.documents)

    async def audit(self, action: str, subject: str, **details: object) -> AuditEvent:
        """Append an event of this actor to the audit log."""
        return await _audited(self, action, subject, details)


async def _audited(of: Installation, action: str, subject: str, details: dict[str, object]) -> AuditEvent:
    return await of.state.audit.append(
        AuditEvent(at_s=of.clock.now_s(), actor=of.actor, action=action, subject=subject, details=details)
    )

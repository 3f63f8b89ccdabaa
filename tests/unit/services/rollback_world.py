"""A store with releases that were stable, and commands that roll back."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.ids import ReleaseId, RolloutId
from shipway.core.ports import WorkerState
from shipway.registry.model import Provenance, Release, release_id
from shipway.rollouts import desk
from shipway.rollouts.model import TERMINAL, RolloutState
from shipway.rollouts.plan import Guardrails, Plan, Step
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.deployments import Deployed
from shipway.services.http_processes import ProcessRow
from shipway.services.rollbacks import apply_roll_back, plan_roll_back
from shipway.services.rollouts import CONTROLLER_ACTOR


@dataclass
class Target:
    """Processes that are healthy as soon as they are wanted."""

    stopped: list[str] = field(default_factory=list)
    until_s: dict[str, float | None] = field(default_factory=dict)

    async def start(self, release):
        pass

    async def stop(self, release, *, at_s=None):
        self.stopped.append(release)
        self.until_s[release] = at_s

    async def healthy(self, release):
        return True

    async def endpoints(self, release):
        return {}


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(1_750_000_000.0)
        self.app = RunningInstallation("local", Workspace(Path("x")), MemoryStore(), self.clock, "user:ada")
        self.target = Target()
        self.rollouts = 0

    async def release(self, message: str) -> ReleaseId:
        manifest = {"app": "a", "policy": {"routes": {"ask": {"kind": "chat"}}}, "note": message}
        made = Release(release_id(manifest), manifest, Provenance("user:ada", 1.0, message=message))
        return (await self.app.releases.add(made))[0].id

    async def promoted(self, release: ReleaseId, actor: str = "user:ada") -> None:
        """Let a deploy or a finished rollout make a release stable."""
        self.clock.advance(60)
        await self.app.releases.set_label("local", release, at_s=self.clock.now_s(), actor=actor)

    async def roll_back(self, to: str = "") -> Deployed:
        self.clock.advance(60)
        return await apply_roll_back(self.app, await plan_roll_back(self.app, to=to), self.target, reason="wrong")

    async def led(self) -> None:
        """Let a controller lead the environment's rollouts for a long time."""
        await self.app.state.leases.acquire("rollouts/local", "c1", ttl_s=1e6, now_s=self.clock.now_s())

    async def rows(self, *releases: ReleaseId) -> None:
        """Let the processes of releases be wanted."""
        for release in releases:
            row = ProcessRow("local", "ask", release, ("serve",), "/healthz", healthy=True, port=5000)
            await self.app.state.documents.put("process", row.key, asdict(row))

    async def wanted(self) -> set[str]:
        found = await self.app.state.documents.list("process", prefix="local/")
        return {body["release"] for _, body, _ in found if body["wanted"]}

    async def reports(self, version: int) -> None:
        """Let a gateway worker say which snapshot it obeys."""
        at_s = self.clock.now_s() + 60
        await self.app.state.snapshots.report(WorkerState("w", "local", version, 0, at_s))

    async def deployments(self) -> list[tuple[str, str]]:
        found = await self.app.state.documents.list("deployment")
        return [(body["release"], body["state"]) for _, body, _ in found]

    async def audited(self) -> list[tuple[str, str]]:
        return [(event.action, event.subject) for event in await self.app.state.audit.entries(after=0, limit=100)]

    async def stable(self) -> str:
        return (await self.app.state.snapshots.read("local")).routes[0].stable

    async def rollout(
        self,
        stable: ReleaseId,
        candidate: ReleaseId,
        state: RolloutState,
        *,
        had_everybody: bool = False,
        drain_s: float = 30.0,
    ) -> RolloutId:
        """Let a rollout be in a state since now; `had_everybody` when it had begun to promote."""
        steps, now_s = (Step(1.0, 0, 0.0, 60.0),), self.clock.now_s()
        plan = Plan(steps=steps, guardrails=Guardrails(0.5, 10), drain_s=drain_s)
        self.rollouts += 1
        row = desk.new_rollout(
            RolloutId(f"ro_{self.rollouts}"), "local", ("ask",), releases=(stable, candidate), plan=plan, now_s=now_s
        )
        decided_s = now_s if state in TERMINAL else None
        times = replace(row.times, decided_s=decided_s, promoting_s=now_s if had_everybody else None)
        await desk.start(self.app.state.documents, replace(row, state=state, times=times), actor="user:ada")
        return row.id

    async def rolled_out(self, stable: ReleaseId, candidate: ReleaseId) -> None:
        """Let a rollout promote its candidate."""
        await self.rollout(stable, candidate, RolloutState.COMPLETED, had_everybody=True)
        await self.promoted(candidate, CONTROLLER_ACTOR)

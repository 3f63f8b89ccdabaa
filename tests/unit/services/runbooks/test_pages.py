"""Runbooks while a rollout is under way; the commands of all are parsed in `integration/cli/test_runbook.py`."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from tests.served import served_request

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError
from shipway.core.ids import RolloutId
from shipway.core.ports import WorkerState
from shipway.core.snapshot import RouteTraffic, Segment, Snapshot
from shipway.core.switches import Switch, SwitchKind
from shipway.registry.model import Provenance, Release, release_id
from shipway.rollouts import desk
from shipway.rollouts.model import RolloutState
from shipway.rollouts.plan import Guardrails, Plan, Step
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.runbooks.facts import FactParts, Facts, collect
from shipway.services.runbooks.pages import Runbook, written
from shipway.services.running import LocalStatus

pytestmark = pytest.mark.anyio
NOW_S = 1_750_000_000.0


def release(note: str) -> Release:
    models = {"large": {"engine": "openai", "model": "m", "max_out": 512}, "small": {"engine": "openai", "model": "s"}}
    manifest = {
        "app": "a",
        "code": {},
        "models": models,
        "data": {"corpus": None},
        "policy": {"routes": {"ask": {"kind": "chat", "model": "large"}}},
        "prompts": {"answer": {"path": "p.yaml", "digest": note}},
    }
    return Release(release_id(manifest), manifest, Provenance("user:ada", 1.0, message=note))


class World:
    """One installation in memory with a stable release and a candidate at 25 %."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_S)
        self.store = MemoryStore()
        self.app = RunningInstallation("production", Workspace(Path("x")), self.store, self.clock, "user:ada")
        self.stable, self.candidate = release("old"), release("new")

    async def begin(self, state: RolloutState) -> None:
        for made in (self.stable, self.candidate):
            await self.app.releases.add(made)
        await self.app.releases.set_label("production", self.stable.id, at_s=NOW_S - 7200, actor="user:ada")
        plan = Plan(steps=(Step(1.0, 0, 0.0, 60.0),), guardrails=Guardrails(0.5, 10))
        row = desk.new_rollout(
            RolloutId("ro_1"),
            "production",
            ("ask",),
            releases=(self.stable.id, self.candidate.id),
            plan=plan,
            now_s=NOW_S - 600,
        )
        times = replace(row.times, confirmed_s=NOW_S - 100)
        row = replace(row, state=state, reason="error 5 of 9", times=times)
        await desk.start(self.store.documents, row, actor="user:ada")

    async def traffic(self, route: RouteTraffic, *switches: Switch) -> None:
        snapshot = Snapshot("production", epoch=1, routes=(route,), switches=switches)
        written = await self.store.snapshots.write(snapshot, expected_version=0)
        await self.store.snapshots.report(WorkerState("gateway-0", "production", written.version, 1, NOW_S))
        await self.store.snapshots.report(WorkerState("gateway-1", "production", 0, 1, NOW_S))

    async def facts(self, *, audit: bool = False) -> Facts:
        parts = FactParts(
            "small",
            ConfigError(["shipway.yaml:3: foo"]),
            LocalStatus(running=True, endpoints=None, processes=[]),
            900.0,
            verify_audit=audit,
        )
        return await collect(self.app, parts)


async def test_a_rollout_under_way_is_aborted_and_its_way_back_shown():
    world = World()
    await world.begin(RolloutState.PROGRESSING)
    stable, candidate = world.stable.id, world.candidate.id
    segments = (Segment(tenants=("acme",)),)
    await world.traffic(RouteTraffic("ask", stable, candidate, 0.25, "s", segments=segments, parked=True))

    text = written(Runbook.ROLLBACK, await world.facts())

    assert f"| ask | {stable} | {candidate} | 25% | parked: its requests wait; for some callers alone |" in text
    assert f"- rollback of rollout ro_1: {candidate} -> {stable}" in text
    assert "no controller runs, so nobody would abort the rollout" in text
    assert "2 workers, of which gateway-1 lag behind" in text
    assert 'shipway rollback --wait -m "REASON"' in text
    assert "export APP_ENV=production" in text
    assert "shipway.yaml:3: foo" in text


async def test_after_a_rollback_only_what_holds_is_ticked():
    world = World()
    await world.begin(RolloutState.ROLLED_BACK)
    switch = Switch(SwitchKind.KILL_ROUTE, "ask")
    await world.traffic(RouteTraffic("ask", world.stable.id), switch)
    known = {"environment": "production", "route": "ask", "release": world.candidate.id, "is_candidate": True}
    before = served_request("before", at_s=NOW_S - 200, **known)
    after = served_request("after", at_s=NOW_S - 50, **known)

    await world.store.records.append([before])
    ticked = written(Runbook.POST_ROLLBACK, await world.facts(audit=True))
    await world.store.records.append([after])
    late = written(Runbook.POST_ROLLBACK, await world.facts(audit=True))

    assert f"- [x] no route assigns {world.candidate.id} any more" in ticked
    assert "- [x] no request was assigned to it since every worker obeyed (0 found)" in ticked
    assert "- [ ] no request was assigned to it since every worker obeyed (1 found)" in late
    assert "- [ ] every worker obeys the newest snapshot" in ticked
    assert "- [x] the audit chain verifies" in ticked
    assert "- [ ] no switch is left on" in ticked
    assert f"shipway release diff {world.stable.id} {world.candidate.id}" in ticked


async def test_a_switch_that_has_expired_is_not_said_to_be_set():
    world = World()
    await world.begin(RolloutState.ROLLED_BACK)
    expired = Switch(SwitchKind.KILL_ROUTE, "ask", expires_at_s=NOW_S - 1.0)
    timed = Switch(SwitchKind.MAX_NEW, "ask", 100, expires_at_s=NOW_S + 60.0)
    traffic = RouteTraffic("ask", world.stable.id)
    await world.traffic(traffic, expired, timed)

    facts = await world.facts(audit=True)

    assert [switch.name for switch in facts.switches] == [timed.name]
    text = written(Runbook.POST_ROLLBACK, facts)
    assert "- switched: max-new:ask 100, until 20" in text
    assert "kill-route:ask" not in text
    assert "- [ ] no switch is left on" in text


async def test_harm_of_a_rolled_back_candidate_points_to_its_evidence_and_other_models():
    world = World()
    await world.begin(RolloutState.ROLLED_BACK)
    await world.traffic(RouteTraffic("ask", world.stable.id))
    facts = await world.facts()

    safety, latency = written(Runbook.SAFETY, facts), written(Runbook.LATENCY, facts)

    assert "Rollout ro_1 was rolled back: error 5 of 9" in safety
    assert "shipway rollout status ro_1" in safety
    assert 'shipway switch set lock-route ask small -m "REASON"' in safety
    assert "shipway switch set max-new '*' 256" in latency
    assert "engine `large`: openai/m, not on this machine" in latency
    assert f"{world.stable.id} is stable since 2025-06-15" in latency


@pytest.mark.parametrize("kind", list(Runbook))
async def test_a_request_to_copy_says_that_its_body_is_json(kind):
    world = World()
    await world.begin(RolloutState.ROLLED_BACK)
    await world.traffic(RouteTraffic("ask", world.stable.id))

    text = written(kind, await world.facts())

    calls = [shlex.split(line) for line in text.splitlines() if line.startswith("curl ") and " -d " in line]
    assert len(calls) == 1
    assert calls[0][calls[0].index("Content-Type: application/json") - 1] == "-H"
    assert json.loads(calls[0][calls[0].index("-d") + 1])["model"] == "ask"

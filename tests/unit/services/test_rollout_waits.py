"""What a rollout says it waits for is what its controller waits for: health, the smoke checks that run, cases asked."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.verdicts import Verdict
from shipway.registry.model import Provenance, Release, release_id
from shipway.registry.store import ReleaseRegistry
from shipway.rollouts.checks import REPLAY, SMOKE
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.model import Code, Command, CommandKind, Division, Phase, RolloutState
from shipway.rollouts.plan import Plan, Step
from shipway.services.rollout_checks import KIND, check_key
from shipway.services.rollouts import described, explained

pytestmark = pytest.mark.anyio
ROUTE = {"kind": "http", "command": ["serve"], "health": "/healthz", "url": None}
MANIFEST = {"app": "shop", "policy": {"routes": {"api": ROUTE}}}
CANDIDATE = release_id(MANIFEST)
BY_HEALTH = Step(0.5, traffic=False, prove=False)
PLAN = Plan(
    steps=(replace(BY_HEALTH, smoke=True), replace(BY_HEALTH, weight=0.75, smoke=True), Step(1.0, smoke=True)),
    on_no_data=REPLAY,
)
ROW = new_rollout("ro_1", "local", ("api",), releases=("rel_old", CANDIDATE), plan=PLAN, now_s=0.0)
STARTED = replace(ROW, times=replace(ROW.times, services_s=1.0))
AT_FIRST = replace(
    STARTED,
    state=RolloutState.PROGRESSING,
    step=0,
    applied=Division("rel_old", CANDIDATE, 0.5),
    times=replace(STARTED.times, step_s=2.0),
)


class Place:
    """An installation with the candidate's process, and a controller as long as somebody leads."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.app = SimpleNamespace(state=store, environment="local", clock=ManualClock())

    async def prepare(self, *, healthy: bool = True, led: bool = True) -> None:
        documents, now_s = self.app.state.documents, self.app.clock.now_s()
        await ReleaseRegistry(documents).add(Release(CANDIDATE, MANIFEST, Provenance("ada", 1.0)))
        await documents.put("process", f"local/api/{CANDIDATE}", {"wanted": True, "healthy": healthy})
        if led:
            await self.app.state.leases.acquire("rollouts/local", "control", ttl_s=1e9, now_s=now_s)

    async def keep(self, kind: str, row=ROW, verdict: Verdict = Verdict.PASS) -> None:
        """Keep what a check said."""
        body = {"verdict": verdict.value, "text": "9 of 9 checks passed", "at_s": 3.0, "output": None}
        await self.app.state.documents.put(KIND, check_key(kind, row), body)

    async def waits(self, row) -> str:
        return (await described(self.app, row))["waiting"]


@pytest.fixture
def place():
    return Place()


async def test_the_smoke_checks_of_a_later_step_are_what_is_waited_for_while_they_run(place):
    await place.prepare()
    assert await place.waits(AT_FIRST) == f"the smoke checks of {CANDIDATE} run; step 2 waits for them"
    await place.keep(SMOKE)
    assert "smoke" not in await place.waits(AT_FIRST)


async def test_smoke_checks_that_are_done_again_are_waited_for_again(place):
    await place.prepare()
    await place.keep(SMOKE, verdict=Verdict.ERROR)
    again = replace(AT_FIRST, smoke_again=1)
    assert await place.waits(again) == f"the smoke checks of {CANDIDATE} run; step 2 waits for them"
    await place.keep(SMOKE, again)
    assert "smoke" not in await place.waits(again)


async def test_before_the_first_step_health_and_then_the_smoke_checks_are_waited_for(place):
    await place.prepare(healthy=False)
    assert f"{CANDIDATE} has to be healthy, and its smoke checks to pass" in await place.waits(STARTED)
    await place.prepare(healthy=True)
    assert await place.waits(STARTED) == f"the smoke checks of {CANDIDATE} run; step 1 waits for them"
    await place.keep(SMOKE)
    assert await place.waits(STARTED) == "step 1 is about to begin"


async def test_a_candidate_that_passed_its_step_but_is_ill_is_said_to_be_ill_and_not_checked(place):
    await place.prepare(healthy=False)
    assert await place.waits(AT_FIRST) == f"{CANDIDATE} passed the step but is not healthy now"


async def test_what_a_person_let_begin_without_its_smoke_checks_does_not_wait_for_failed_ones(place):
    await place.prepare()
    await place.keep(SMOKE, verdict=Verdict.ERROR)
    approved = replace(AT_FIRST, acknowledged=(Code.SMOKE,))
    assert "smoke" not in await place.waits(approved)


async def test_a_step_outside_its_hours_waits_for_them_and_not_for_its_smoke_checks(place):
    await place.prepare()
    place.app.clock.advance(3 * 86400.0)
    steps = (BY_HEALTH, replace(PLAN.steps[1], windows=("Tue 03:00-03:01",)), PLAN.steps[2])
    said = await place.waits(replace(AT_FIRST, plan=replace(PLAN, steps=steps)))
    assert said.startswith("step 2 begins in Tue 03:00-03:01 (UTC)")


async def test_the_cases_that_are_asked_in_place_of_missing_users_are_waited_for(place):
    await place.prepare()
    place.app.clock.advance(1000.0)
    steps = (Step(0.5, min_conversations=50, max_s=60.0), *PLAN.steps[1:])
    silent = replace(AT_FIRST, plan=replace(PLAN, steps=steps))
    said = await place.waits(silent)
    assert "step 1 reached max_s = 60" in said
    assert said.endswith("the gate's cases are asked of both releases meanwhile")


async def test_where_nobody_leads_no_smoke_check_is_said_to_run(place):
    await place.prepare(led=False)
    said = f"no controller runs, so nobody does the smoke checks of {CANDIDATE}; `shipway up` starts it"
    assert await place.waits(AT_FIRST) == said


async def test_workers_that_have_to_obey_come_before_any_check(place):
    await place.prepare()
    assert await place.waits(replace(AT_FIRST, phase=Phase.INTENT)) == "every worker has to obey first"


async def test_a_command_that_is_left_is_carried_out_before_any_check_is_asked(place):
    await place.prepare()
    left = replace(AT_FIRST, command=Command(CommandKind.ABORT, "user:ada", "enough", 5.0))
    assert "smoke" not in await place.waits(left)


async def test_a_rollout_whose_release_is_gone_can_still_be_looked_at(place):
    assert f"{CANDIDATE} has to be healthy, and its smoke checks to pass" in await place.waits(STARTED)


@pytest.mark.parametrize("led", [True, False])
async def test_smoke_checks_that_run_while_the_step_before_bakes_are_not_what_is_waited_for(place, led):
    await place.prepare(led=led)
    now_s = place.app.clock.now_s()
    steps = (replace(BY_HEALTH, min_bake_s=60.0), *PLAN.steps[1:])
    times = replace(AT_FIRST.times, step_s=now_s - 20.0)
    baking = replace(AT_FIRST, plan=replace(PLAN, steps=steps), times=times)
    assert "20 of 60 s" in await place.waits(baking)
    assert (await explained(place.app, baking))[1][-2:] == ["checks:", "  smoke: no result yet"]


async def test_an_explanation_names_the_check_that_has_no_result_yet(place):
    await place.prepare()
    value, lines = await explained(place.app, AT_FIRST)
    assert value["waiting"] == f"the smoke checks of {CANDIDATE} run; step 2 waits for them"
    assert lines[-2:] == ["checks:", "  smoke: no result yet"]
    await place.keep(SMOKE)
    assert not any("no result yet" in line for line in (await explained(place.app, AT_FIRST))[1])

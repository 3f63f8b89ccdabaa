from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from tests.unit.services.quality.observed import copy_of, sampled, served, shadow

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.core.ids import RouteName
from shipway.core.observation import GOLDEN, Observation
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.rag.answer import Generation
from shipway.services.application import Application, Workspace
from shipway.services.quality.jobs import JudgingWork, RulesWork
from shipway.services.quality.judging import ERROR_KIND
from shipway.services.quality.status import quality_status
from shipway.services.quality.watch import Job, PairsWork, QualityWatch, Turn, WatchParts, has_answers, has_rules

pytestmark = pytest.mark.anyio
PROJECT = """
app: shop
models: { here: { engine: echo, model: echo } }
routes: { ask: { kind: chat, model: here } }
quality: { sample: 0.1 }
"""


class Embedder:
    digest = "sha256:e"

    async def embed(self, texts):
        return np.array([[1.0, 0.0] for _ in texts], dtype=np.float32)


class Reranker:
    digest = "sha256:r"

    async def score(self, _query, passages):
        return np.zeros(len(passages), dtype=np.float32)


class Parts:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = 0
        self.reply = '{"score": 0.25, "pass": false}'

    async def embedder(self):
        if self.error is not None:
            raise self.error
        return Embedder()

    async def reranker(self):
        return Reranker()

    @asynccontextmanager
    async def generator(self, _alias, _timeout_s):
        if self.error is not None:
            raise self.error
        yield self

    async def generate(self, _messages, *, max_tokens, temperature, seed, stop):
        self.asked += 1
        return Generation(self.reply, 100, 0, 20, "stop")


class Notes:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.said.append((event, fields))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def app(tmp_path: Path) -> Application:
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    store = MemoryStore()
    made = Application(load_project(tmp_path, {}), Workspace(tmp_path), store, ManualClock(50_000.0), "control")
    routes = (RouteTraffic(RouteName("ask"), "rel_a"),)
    await store.snapshots.write(Snapshot(made.environment, routes=routes), expected_version=0)
    return made


async def golden(app: Application, number: int, value: float, release: str = "rel_a") -> None:
    item = Observation(
        f"g{number}/{release}",
        app.clock.now_s(),
        GOLDEN,
        app.environment,
        "ask",
        release,
        value,
        conversation=f"c{number}",
    )
    await app.state.observations.append([item])


async def entries(app: Application) -> list[Any]:
    return [event for event in await app.state.audit.entries() if event.action == "quality.broken"]


async def test_a_broken_rule_is_one_audit_entry_a_day_whoever_looks(app, notes):
    for number in range(10):
        await golden(app, number, 0.0)
    for _ in range(2):
        first, second = RulesWork(notes), RulesWork(notes)
        await first.work(app)
        await first.work(app)
        await second.work(app)
    [entry] = await entries(app)
    assert (entry.subject, entry.details["rule"], entry.details["passed"]) == ("ask", "goldens", 0)
    app.clock.advance(40_000.0)
    await RulesWork(notes).work(app)
    assert len(await entries(app)) == 2
    assert {event for event, _ in notes.said} == {"quality_broken"}


async def test_a_release_that_is_not_served_any_more_raises_no_alarm(app, notes):
    for number in range(10):
        await golden(app, number, 0.0, release="rel_old")
    await RulesWork(notes).work(app)
    assert await entries(app) == []
    assert (await quality_status(app)).rules == ()
    [reading] = (await quality_status(app, every_release=True)).rules
    assert reading.verdict == "FAIL"


async def test_the_status_forgets_what_is_older_than_the_window(app):
    await golden(app, 1, 0.0)
    app.clock.advance(80_000.0)
    await golden(app, 2, 1.0)
    assert (await quality_status(app)).rules[0].n == 2
    app.clock.advance(10_000.0)
    assert (await quality_status(app)).rules[0].n == 1


async def kept(app: Application, name: str) -> None:
    await sampled(app.state, name, environment=app.environment)
    [(key, body, _)] = [row for row in await app.state.documents.list("answer_sample") if row[1]["request_id"] == name]
    await app.state.documents.put("answer_sample", key, {**body, "environment": app.environment})


async def test_the_embedded_judge_needs_no_entry_and_its_tokens_are_counted(app, notes):
    await kept(app, "r1")
    work = JudgingWork(lambda _app: Parts(), notes)
    await work.work(app)
    await work.close()
    status = await quality_status(app)
    [reading] = status.rules
    assert (reading.rule.name, reading.n, reading.passed) == ("answers", 1, 1)
    assert status.tokens_taken == 6
    assert status.errors == {}


async def test_a_judge_that_is_not_installed_is_an_error_that_is_said_once(app, notes):
    await kept(app, "r1")
    work = JudgingWork(lambda _app: Parts(NotFoundError("model minilm is not installed")), notes)
    for _ in range(3):
        await work.work(app)
    assert [event for event, _ in notes.said] == ["quality_judge_unavailable"]
    status = await quality_status(app)
    assert (status.rules, status.errors) == ((), {"NotFoundError": 1})


async def test_a_judge_that_is_not_there_yet_is_tried_again(app, notes):
    await kept(app, "r1")
    parts = Parts(UnavailableError("starting"))
    work = JudgingWork(lambda _app: parts, notes)
    await work.work(app)
    parts.error = None
    await work.work(app)
    assert len((await quality_status(app)).rules) == 1
    assert len(await app.state.documents.list(ERROR_KIND)) == 1


def with_llm(app: Application, budget: int) -> Application:
    root = app.loaded.root
    (root / "rubric.md").write_text("Is it right?")
    judges = "judges: { strict: { kind: llm, model: here, rubric: rubric.md, swap: false, max_tokens: 50 } }\n"
    chosen = f"quality: {{ sample: 0.1, judge: strict, budget_tokens_per_day: {budget} }}"
    (root / "shipway.yaml").write_text(PROJECT.replace("quality: { sample: 0.1 }", judges + chosen))
    return replace(app, loaded=load_project(root, {}))


async def test_a_model_judges_by_its_rubric_and_pays_what_it_took(app, notes):
    await kept(app, "r1")
    own = with_llm(app, 100_000)
    await JudgingWork(lambda _app: Parts(), notes).work(own)
    status = await quality_status(own)
    assert (status.rules[0].n, status.rules[0].passed, status.tokens_taken) == (1, 0, 120)
    [item] = await own.state.observations.after(0, environment=own.environment)
    assert (item.observation.value, item.observation.details["task"]) == (0.25, "rubric")


async def test_a_model_is_not_asked_when_its_call_might_not_fit(app, notes):
    await kept(app, "r1")
    parts = Parts()
    await JudgingWork(lambda _app: parts, notes).work(with_llm(app, 60))
    assert parts.asked == 0
    assert (await quality_status(app)).errors == {}


async def test_a_model_that_answers_nonsense_is_an_error_and_no_score(app, notes):
    await kept(app, "r1")
    parts = Parts()
    parts.reply = "I find it quite good!"
    own = with_llm(app, 100_000)
    await JudgingWork(lambda _app: parts, notes).work(own)
    status = await quality_status(own)
    assert (status.rules, status.errors, status.tokens_taken) == ((), {"JudgeReplyError": 1}, 240)


async def test_of_two_processes_one_has_the_turn_until_its_lease_ends(app):
    first, second = Turn("quality-x", "a"), Turn("quality-x", "b")
    assert await first.is_mine(app)
    assert not await second.is_mine(app)
    app.clock.advance(31.0)
    assert await second.is_mine(app)
    assert not await first.is_mine(app)


class Counting:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.looks = 0
        self.closed = False
        self.enough = anyio.Event()

    async def work(self, _app: Application) -> None:
        self.looks += 1
        if self.looks >= 3:
            self.enough.set()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.closed = True


async def ran(app: Application, notes: Notes, worker: Counting, *, wanted: bool = True) -> None:
    async def is_wanted(_app: Application) -> bool:
        if not wanted:
            worker.enough.set()
        return wanted

    async def make() -> Counting:
        return worker

    stop = anyio.Event()
    watch = QualityWatch(WatchParts(lambda: app, notes, "me"), (Job("x", 0.0, is_wanted, make),))
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run, stop)
        await worker.enough.wait()
        stop.set()


async def test_a_job_looks_again_and_again_and_is_closed_at_the_end(app, notes):
    worker = Counting()
    await ran(app, notes, worker)
    assert worker.closed
    assert notes.said == []


async def test_a_job_that_fails_is_noted_once_and_goes_on(app, notes):
    await ran(app, notes, Counting(UnavailableError("no gateway")))
    assert notes.said == [("quality_job_failed", {"job": "x", "error": "UnavailableError", "message": "no gateway"})]


async def test_a_job_that_nobody_asked_for_takes_no_lease_and_loads_nothing(app, notes):
    worker = Counting()
    await ran(app, notes, worker, wanted=False)
    assert worker.looks == 0
    assert await app.state.leases.read(f"quality-x/{app.environment}") is None


async def test_what_is_wanted_is_what_there_is_something_to_do_for(app):
    assert not await has_answers(app)
    assert await has_rules(app)
    await kept(app, "r1")
    assert await has_answers(app)


async def test_pairs_are_observed_by_the_events_of_the_rollout(tmp_path, notes):
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    store = MemoryStore()
    made = Application(load_project(tmp_path, {}), Workspace(tmp_path), store, ManualClock(1010.0), "control")
    await shadow(store, environment=made.environment)
    records = [served("r1"), copy_of("r1", events=("shadow", "abstained"))]
    await store.records.append(
        [type(item).from_dict({**item.to_dict(), "environment": made.environment}) for item in records]
    )
    work = PairsWork()
    assert await work.is_wanted(made)
    await work.work(made)
    [item] = await store.observations.after(0, environment=made.environment)
    assert item.observation.value == -1.0

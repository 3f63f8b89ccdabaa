from pathlib import Path

import pytest
from tests.served import served_request

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.services.application import Application, Workspace
from shipway.services.proposals.gathering import gather
from shipway.services.proposals.signals import LOST_DAYS

pytestmark = pytest.mark.anyio
PROJECT = """
app: shop
models: { here: { engine: echo, model: echo } }
routes: { ask: { kind: chat, model: here } }
quality: { sample: 1.0 }
"""
PATIENCE_S = 61.0
DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(50_000.0)


@pytest.fixture
def app(tmp_path: Path, clock: ManualClock) -> Application:
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), clock, "control")


async def failed(app: Application, name: str) -> None:
    record = served_request(
        f"c {name}", id=name, environment=app.environment, is_candidate=True, status=503, events=("error",)
    )
    await app.state.records.append([record])


async def counted(app: Application) -> tuple[int, int]:
    found = await gather(app)
    return found.without_text, found.awaiting_text


async def test_a_look_does_not_take_the_count_of_requests_without_a_text_from_the_next_look(app, clock):
    for number in range(18):
        await failed(app, f"req_{number}")

    assert await counted(app) == (0, 18)
    clock.advance(PATIENCE_S)
    assert await counted(app) == (18, 0)
    assert await counted(app) == (18, 0)
    clock.advance(DAY_S)
    await failed(app, "req_later")
    assert await counted(app) == (18, 1)
    clock.advance(PATIENCE_S)
    assert await counted(app) == (19, 0)


async def test_requests_without_a_text_are_counted_for_some_days_alone(app, clock):
    await failed(app, "req_1")
    await gather(app)
    clock.advance(PATIENCE_S)
    await gather(app)

    clock.advance((LOST_DAYS - 1) * DAY_S)
    assert await counted(app) == (1, 0)
    clock.advance(DAY_S)
    assert await counted(app) == (0, 0)

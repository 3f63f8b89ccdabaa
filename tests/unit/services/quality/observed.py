"""Records, samples and judges for the tests of this folder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.ids import Digest, RouteName
from shipway.core.observation import Observation
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.evals.judgement import JudgeIdentity, Judgement, JudgeRequest
from shipway.gateway.sampling import SAMPLE_KIND
from shipway.services.quality.judging import OnlineJudge
from shipway.services.quality.purse import DailyPurse

ENVIRONMENT = "production"
SECRET_WORDS = "Mellifluous"


def served(name: str, **changes: Any) -> ServedRequest:
    record = ServedRequest(
        id=name,
        at_s=1000.0,
        environment=ENVIRONMENT,
        route="ask",
        release="rel_a",
        is_candidate=False,
        candidate_weight=0.25,
        rollout="rol_1",
        snapshot_version=3,
        conversation=f"of {name}",
        conversation_source="header",
        tenant="acme",
        key_id="key_1",
        status=200,
        latency_ms=12.5,
    )
    return replace(record, **changes)


def copy_of(name: str, **changes: Any) -> ServedRequest:
    values = {"release": "rel_b", "shadow_of": name, "events": ("shadow",), "rollout": None, "candidate_weight": 0.0}
    return served(f"{name}.shadow", **{**values, **changes})


async def shadow(store: MemoryStore, *, on: bool = True, environment: str = ENVIRONMENT) -> None:
    before = await store.snapshots.read(environment)
    route = RouteTraffic(RouteName("ask"), "rel_a", shadow="rel_b" if on else None, shadow_share=0.1 if on else 0.0)
    await store.snapshots.write(Snapshot(environment, routes=(route,)), expected_version=before.version)


async def sampled(
    store: MemoryStore, name: str, *, at_s: float = 1000.0, answer: str = SECRET_WORDS, **more: Any
) -> None:
    await store.records.append([served(name, **more)])
    body = {
        "request_id": name,
        "at_s": at_s,
        "environment": ENVIRONMENT,
        "route": "ask",
        "release": "rel_a",
        "question": "What is it?",
        "answer": answer,
    }
    await store.documents.put(SAMPLE_KIND, f"w/{name}", body)


async def observed(store: MemoryStore) -> list[Observation]:
    return [item.observation for item in await store.observations.after(0, environment=ENVIRONMENT)]


class Opinions:
    """A judge with an opinion for each answer; an exception in its place is raised."""

    def __init__(self, of: Callable[[str], Any] = lambda _answer: 0.75, tokens: int = 0) -> None:
        self._of = of
        self._tokens = tokens
        self.asked: list[str] = []
        self.identity = JudgeIdentity("fake", Digest("sha256:" + "0" * 64))

    async def judge(self, request: JudgeRequest, *, repeat: int) -> Judgement:
        assert repeat == 0
        self.asked.append(request.output.answer)
        found = self._of(request.output.answer)
        if isinstance(found, Exception):
            raise found
        return Judgement(request.task, found, reason=request.output.answer, tokens_in=self._tokens)


def online(
    store: MemoryStore, judge: Opinions, *, budget: int = 1_000_000, clock: ManualClock | None = None, **more: Any
):
    return OnlineJudge(
        judge, "relevance", DailyPurse(store.documents, clock or ManualClock(), ENVIRONMENT, budget), **more
    )

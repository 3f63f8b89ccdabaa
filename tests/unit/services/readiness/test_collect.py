import json
from pathlib import Path

import pytest
from tests.served import served_request

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError, StoreError
from shipway.readiness.audit import audit
from shipway.readiness.facts import Absent, Answer, GitFacts, ServiceFacts
from shipway.readiness.model import Source, State
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.readiness.attestations import Statement, attest
from shipway.services.readiness.collect import CollectParts, collect

pytestmark = pytest.mark.anyio
GIT = GitFacts("c" * 40, "", frozenset({"shipway.yaml"}), frozenset(), frozenset(), {})


class History:
    def __init__(self, git):
        self.git = git

    async def read(self, root, files):
        return self.git

    async def files(self, root):
        return None


async def probe(question):
    return ServiceFacts("http://127.0.0.1:1", {"GET /health": Answer(200, {}, question)}, has_key=False)


async def silent(question):
    return ServiceFacts("http://127.0.0.1:1", {}, has_key=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shipway.yaml").write_text(
        "app: a\nmodels: { m: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: m } }\n"
    )
    cases = [{"id": str(number), "question": f"Word{number % 2}?", "must_contain": ["x"]} for number in range(3)]
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    return tmp_path


def parts(root: Path, **changed) -> CollectParts:
    known = {"settings": load_project(root, {}), "history": History(GIT), "app": None, "probe": None, "now_s": 5.0}
    return CollectParts(Workspace(root), **{**known, **changed})


async def test_what_is_not_there_is_absent_with_why_and_what_would_change_it(root):
    facts = await collect(parts(root, history=History(None), settings=ConfigError(["shipway.yaml:1: wrong"])))
    absent = {source for source in Source if isinstance(getattr(facts, source.value), Absent)}

    assert absent == set(Source) - {Source.REPOSITORY}
    assert facts.settings.why == "shipway.yaml:1: wrong"
    assert all(getattr(facts, source.value).needed for source in absent)
    assert audit(facts).level == 0


async def test_everything_that_is_there_is_a_fact(root):
    state, clock = MemoryStore(), ManualClock()
    app = RunningInstallation("local", Workspace(root), state, clock, "user:a")
    refused = {"environment": "local", "status": 429}
    await state.records.append(
        [served_request("a", **refused), served_request("b", environment="local", shadow_of="a")]
    )
    await attest(app, Statement("SEC-2", "the proxy does it", "Ann", 5))
    (root / ".shipway" / "logs").mkdir(parents=True)

    facts = await collect(parts(root, app=app, probe=probe, now_s=clock.now_s()))

    assert facts.the_dataset().cases == 3
    assert facts.the_dataset().questions == 2
    assert (facts.the_store().refused, facts.the_store().shadowed, facts.the_store().faults) == (1, 1, ())
    assert facts.the_service().answers["GET /health"].body == "Word0?"
    assert facts.the_logs().lines == ()
    assert facts.the_git() is GIT
    (found,) = [result for result in audit(facts).results if result.check.id == "SEC-2"]
    assert found.state is State.ATTESTED


async def test_a_store_that_cannot_be_opened_and_a_service_that_is_silent_are_absent(root):
    facts = await collect(parts(root, app=StoreError("the store is locked"), probe=silent))

    assert facts.store == Absent("the store is locked", "`shipway doctor`")
    assert isinstance(facts.service, Absent)
    assert "nobody answers at http://127.0.0.1:1" in facts.service.why


async def test_cases_that_cannot_be_read_are_absent(root):
    (root / "evals" / "cases.jsonl").write_text("{")

    assert isinstance((await collect(parts(root))).dataset, Absent)

"""An evaluation that one store hands to another: whole, or refused; what a store has stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.canonical import digest_bytes
from shipway.core.clock import ManualClock
from shipway.core.errors import GateRefusedError, IntegrityError, NotFoundError
from shipway.evals.baseline import NO_JUDGE
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import Application, Workspace
from shipway.services.deployments import plan_deploy
from shipway.services.handed_evaluations import handed_on, has_evaluation, read_handed, take_over

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})
MANIFEST = {"policy": {"routes": {"ask": {"kind": "http"}}}}
NAME = str(release_id(MANIFEST))
BINDING = {"dataset": "sha256:d", "corpus": NO_JUDGE, "judge": NO_JUDGE, "metrics": "sha256:m"}
RUN = {"target": NAME, "binding": BINDING, "results": [{"case": "1", "repeat": 0, "scores": {"correct": 1.0}}]}
FILE = "results/evaluate.evidence.jsonl"


async def store(actor: str, *, release: bool = True) -> Application:
    loaded = LoadedProject(Path("project"), "local", PROJECT, {})
    app = Application(loaded, Workspace(Path("project")), MemoryStore(), ManualClock(1000.0), actor)
    if release:
        await app.releases.add(Release(release_id(MANIFEST), MANIFEST, Provenance(actor, 1.0)))
    return app


async def evaluated(app: Application, verdict: str = "PASS", runs: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Put an evaluation into a store and return its file."""
    blob = await app.state.blobs.put(json.dumps(runs or {"candidate": RUN}).encode())
    body = {"id": "eval_1", "release": NAME, "baseline": None, "verdict": verdict, "at_s": 900.0, "actor": "user:ci"}
    body |= {"binding": BINDING, "runs": blob, "report": {"gates": [], "warnings": []}} | more
    await app.state.documents.put("evaluation", f"{NAME}/eval_1", body)
    return await handed_on(app, NAME, "eval_1")


async def test_a_store_that_takes_an_evaluation_over_has_all_that_the_first_one_had() -> None:
    first, second = await store("user:ci"), await store("user:ada")
    data = await evaluated(first)

    assert await take_over(second, await read_handed(data, digest_bytes(data), FILE))

    assert await handed_on(second, NAME, "eval_1") == data
    (statement,) = (await second.releases.get(NAME)).signed_off
    assert (statement["statement"], statement["by"], statement["taken_over_by"]) == ("evaluated", "user:ci", "user:ada")
    (event,) = await second.state.audit.entries()
    assert (event.action, event.subject, event.actor) == ("evaluation.taken_over", NAME, "user:ada")
    assert event.details["verdict"] == "PASS"


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
async def test_a_deploy_asks_an_evaluation_that_was_taken_over_like_one_of_its_own(verdict: str) -> None:
    first, second = await store("user:ci"), await store("user:ada")
    data = await evaluated(first, verdict)
    await take_over(second, await read_handed(data, digest_bytes(data), FILE))

    if verdict == "PASS":
        assert (await plan_deploy(second, NAME, judge=None)).gate.startswith("gate: PASS")
        return
    with pytest.raises(GateRefusedError, match="the gate says FAIL"):
        await plan_deploy(second, NAME, judge=None)


async def test_what_the_store_has_stays_whatever_is_handed_to_it() -> None:
    first, second = await store("user:ci"), await store("user:ada")
    data = await evaluated(first, "PASS")
    own = await evaluated(second, "FAIL")

    assert not await take_over(second, await read_handed(data, digest_bytes(data), FILE))

    assert await handed_on(second, NAME, "eval_1") == own
    assert await second.state.audit.entries() == []


async def test_nothing_is_taken_over_for_a_release_that_the_store_does_not_have() -> None:
    data = await evaluated(await store("user:ci"))
    empty = await store("user:ada", release=False)

    with pytest.raises(NotFoundError, match="no release"):
        await take_over(empty, await read_handed(data, digest_bytes(data), FILE))

    assert not await has_evaluation(empty, NAME, "eval_1")


async def test_every_changed_byte_is_refused_by_the_digest_that_the_stage_said() -> None:
    data = await evaluated(await store("user:ci"))
    digest = digest_bytes(data)
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(IntegrityError, match=f"changed since it was handed on: {FILE} has the digest sha256:"):
            await read_handed(changed, digest, FILE)
    with pytest.raises(IntegrityError, match="not any that is known; nothing was judged"):
        await read_handed(data, "", FILE)


@pytest.mark.parametrize(
    ("runs", "more", "said"),
    [
        ({"candidate": RUN | {"target": "rel_other"}}, {}, f"its run is of rel_other, the evaluation of {NAME}"),
        ({"candidate": RUN, "baseline": RUN | {"target": "rel_b"}}, {}, "its runs have another baseline than None"),
        ({"candidate": RUN}, {"baseline": "rel_b"}, "its runs have another baseline than rel_b"),
        ({"candidate": RUN}, {"binding": BINDING | {"judge": "sha256:x"}}, "judge of its run is"),
        ({"candidate": RUN}, {"verdict": "FINE"}, "'FINE' is not a valid Verdict"),
        ({"candidate": RUN}, {"id": "other"}, "'other' is no id of an evaluation"),
        ({"candidate": RUN}, {"actor": 1}, "actor is 1, no text"),
    ],
)
async def test_parts_that_do_not_belong_together_are_refused(runs: Any, more: dict[str, Any], said: str) -> None:
    data = await evaluated(await store("user:ci"), runs=runs, **more)
    with pytest.raises(IntegrityError, match="is no evaluation that was handed on") as refused:
        await read_handed(data, digest_bytes(data), FILE)
    assert said in refused.value.message


async def test_runs_of_another_evaluation_are_refused() -> None:
    head, _, runs = (await evaluated(await store("user:ci"))).partition(b"\n")
    data = head + b"\n" + runs.replace(b"1.0", b"0.0")
    with pytest.raises(IntegrityError, match="its runs have the digest sha256:"):
        await read_handed(data, digest_bytes(data), FILE)


@pytest.mark.parametrize("data", [b"", b"\n", b"[]\n{}", b'{"schema": 1}\n{}', b'{"schema": 2, "evaluation": {}}\n'])
async def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=f"{FILE} is no evaluation that was handed on"):
        await read_handed(data, digest_bytes(data), FILE)


async def test_an_evaluation_that_the_store_does_not_have_is_not_handed_on() -> None:
    with pytest.raises(NotFoundError, match="evaluation eval_2 of release"):
        await handed_on(await store("user:ci"), NAME, "eval_2")

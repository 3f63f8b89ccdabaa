"""Who is refused by the gate is told what can make its verdict another one."""

from pathlib import Path

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import GateRefusedError
from shipway.registry.model import Provenance, Release, release_id
from shipway.services import deployments
from shipway.services.application import Application, Workspace

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})
MANIFEST = {"policy": {"routes": {"ask": {"kind": "http"}}}}


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("FAIL", "change the release, or deploy with --override-gate REASON"),
        (
            "ERROR",
            "something went wrong in the run and says nothing of the release: read it, then `shipway eval run rel_",
        ),
        ("INCONCLUSIVE", "what more it takes is in the run's report; then `shipway eval run rel_"),
    ],
)
async def test_only_a_release_that_failed_is_to_be_changed(monkeypatch, verdict, said):
    loaded = LoadedProject(Path("project"), "local", PROJECT, {})
    app = Application(loaded, Workspace(Path("project")), MemoryStore(), ManualClock(1000.0), "user:ada")
    release = Release(release_id(MANIFEST), MANIFEST, Provenance("user:ada", 1.0))
    await app.releases.add(release)

    async def evaluated(_app, _release):
        return {"verdict": verdict, "baseline": None}

    monkeypatch.setattr(deployments, "latest_evaluation", evaluated)
    with pytest.raises(GateRefusedError, match=f"the gate says {verdict}") as refused:
        await deployments.plan_deploy(app, release.id, judge=None)
    assert refused.value.hint.startswith(said)

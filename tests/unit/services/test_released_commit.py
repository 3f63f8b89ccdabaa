"""What users have is compared with by its commit, where one commit holds it."""

from pathlib import Path

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, UsageError
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import Application, Workspace
from shipway.services.released_commit import released_commit

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})
COMMIT = "ab" * 20


@pytest.fixture
def app() -> Application:
    loaded = LoadedProject(Path("project"), "staging", PROJECT, {})
    return Application(loaded, Workspace(Path("project")), MemoryStore(), ManualClock(1000.0), "user:ada")


async def stable(app: Application, commit: str | None, *, dirty: bool = False, number: int = 1) -> Release:
    manifest = {"number": number}
    release = Release(release_id(manifest), manifest, Provenance("user:ada", 1.0, commit, dirty))
    await app.releases.add(release)
    await app.releases.set_label("staging", release.id, at_s=float(number), actor="user:ada")
    return release


async def test_it_is_the_commit_of_what_is_stable_now(app: Application) -> None:
    await stable(app, "cd" * 20)
    await stable(app, COMMIT, number=2)
    assert await released_commit(app) == COMMIT


async def test_before_anything_is_stable_in_this_environment_there_is_none(app: Application) -> None:
    with pytest.raises(NotFoundError, match="no release is stable in staging"):
        await released_commit(app)


async def test_a_release_made_outside_of_git_has_none(app: Application) -> None:
    release = await stable(app, None)
    with pytest.raises(UsageError, match=f"{release.id}, which is stable in staging, was made outside of git"):
        await released_commit(app)


async def test_what_was_made_of_uncommitted_changes_is_in_no_commit(app: Application) -> None:
    await stable(app, COMMIT, dirty=True)
    with pytest.raises(UsageError, match="changes that were not committed") as refused:
        await released_commit(app)
    assert refused.value.hint == f"--since {COMMIT} compares with that commit all the same"

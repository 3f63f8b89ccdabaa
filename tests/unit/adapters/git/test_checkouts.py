"""Commits of a repository in folders of their own: the tip alone, and nothing of the repository is run."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shipway.adapters.git.checkouts import GitCheckouts, Remote
from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.pipeline_process import Programs
from shipway.core.errors import UnavailableError
from shipway.pipeline.webhooks.model import Entry
from shipway.pipeline.webhooks.ports import CheckedOut, NotTheTip

pytestmark = pytest.mark.anyio
AUTHOR = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")


@dataclass
class Repository:
    root: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *AUTHOR, *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    found = Repository(root)
    found.git("init", "-q", "-b", "main")
    return found


@pytest.fixture
def checkouts(tmp_path: Path, repository: Repository) -> Iterator[GitCheckouts]:
    with GroupKeeper() as keeper:
        yield GitCheckouts(Remote(str(repository.root), os.environ), tmp_path / "checkouts", Programs(keeper).run)


def entry(commit: str, ref: str = "refs/heads/main", run: str = "RUN1") -> Entry:
    return Entry(
        id=run,
        provider="github",
        event="push",
        branch="main",
        ref=ref,
        commit=commit,
        fork=False,
        arguments=(),
        timeout_s=60.0,
        cancels=False,
        marks=(),
        queued_at_s=0.0,
    )


async def test_the_tip_of_a_branch_is_checked_out_with_its_files_alone(checkouts, repository, tmp_path):
    repository.commit(one="1")
    commit = repository.commit(two="2")
    repository.git("checkout", "-q", "-b", "other")
    repository.commit(three="3")

    found = await checkouts.make(entry(commit), "")
    assert found == CheckedOut(tmp_path / "checkouts" / "RUN1", None)
    assert sorted(path.name for path in found.folder.iterdir()) == [".git", "one", "two"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=found.folder, capture_output=True, text=True, check=True)
    assert head.stdout.strip() == commit


async def test_a_commit_that_is_not_the_tip_is_not_fetched(checkouts, repository, tmp_path):
    old = repository.commit(one="1")
    new = repository.commit(one="2")

    assert await checkouts.make(entry(old), "") == NotTheTip(new)
    assert await checkouts.make(entry(new, "refs/heads/gone"), "") == NotTheTip("")
    assert list((tmp_path / "checkouts").iterdir()) == []


async def test_a_forced_push_leaves_the_old_commit_behind(checkouts, repository):
    repository.commit(one="1")
    old = repository.commit(one="2")
    repository.git("reset", "-q", "--hard", "HEAD~1")
    forced = repository.commit(one="3")

    assert await checkouts.make(entry(old), "") == NotTheTip(forced)
    assert isinstance(await checkouts.make(entry(forced), ""), CheckedOut)


async def test_a_name_that_other_names_end_in_is_not_taken_for_them(checkouts, repository):
    commit = repository.commit(one="1")
    repository.git("update-ref", "refs/remotes/refs/heads/x", commit)

    assert await checkouts.tip(entry(commit, "refs/heads/x")) == ""


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_tag_is_the_commit_that_it_stands_for(checkouts, repository, annotated):
    commit = repository.commit(one="1")
    repository.git("tag", *(["-a", "-m", "first"] if annotated else []), "v1")
    tag = repository.git("rev-parse", "v1")

    for named in {commit, tag}:
        found = await checkouts.make(entry(named, "refs/tags/v1"), "")
        assert isinstance(found, CheckedOut)
        assert (found.folder / "one").read_text() == "1"


async def test_a_pull_request_is_read_from_the_own_repository(checkouts, repository):
    commit = repository.commit(one="1")
    repository.git("update-ref", "refs/pull/7/head", commit)

    assert isinstance(await checkouts.make(entry(commit, "refs/pull/7/head"), ""), CheckedOut)


async def test_what_differs_from_the_commit_before_is_told(checkouts, repository):
    before = repository.commit(one="1", app__two="2", app__gone="x")
    (repository.root / "app" / "gone").unlink()
    commit = repository.commit(app__two="3", ünï="4")

    found = await checkouts.make(entry(commit), before)
    assert isinstance(found, CheckedOut)
    assert sorted(found.changed_files or ()) == ["app/gone", "app/two", "ünï"]


async def test_a_commit_before_that_nobody_has_leaves_open_what_changed(checkouts, repository):
    found = await checkouts.make(entry(repository.commit(one="1")), "a" * 40)

    assert isinstance(found, CheckedOut)
    assert found.changed_files is None


async def test_nothing_of_the_repository_is_run(checkouts, repository, tmp_path, monkeypatch):
    owned = tmp_path / "owned"
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    (home / "hooks" / "post-checkout").write_text(f"#!/bin/sh\ntouch {owned}\n")
    (home / "hooks" / "post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\nhooksPath = {home}/hooks\n[init]\ntemplateDir = {home}\n[filter "lfs"]\nsmudge = touch {owned}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath'='{home}/hooks'")
    modules = f'[submodule "x"]\npath = x\nurl = {repository.root}\n'
    commit = repository.commit(**{".gitattributes": "* filter=lfs\n", ".gitmodules": modules, "one": "1"})
    owned.unlink(missing_ok=True)

    found = await checkouts.make(entry(commit), "")
    assert isinstance(found, CheckedOut)
    assert not owned.exists()
    assert not (found.folder / ".git" / "hooks").exists()


async def test_a_folder_of_an_earlier_attempt_is_made_anew(checkouts, repository):
    commit = repository.commit(one="1")
    first = await checkouts.make(entry(commit), "")
    assert isinstance(first, CheckedOut)
    (first.folder / "left").write_text("x")

    await checkouts.make(entry(commit), "")
    assert not (first.folder / "left").exists()


async def test_folders_of_other_runs_are_removed(checkouts, repository, tmp_path):
    commit = repository.commit(one="1")
    for run in ("RUN1", "RUN2"):
        await checkouts.make(entry(commit, run=run), "")
    await checkouts.remove_all_but({"RUN2"})

    assert [path.name for path in (tmp_path / "checkouts").iterdir()] == ["RUN2"]


@pytest.mark.parametrize("address", ["/no/such/repository", "ext::sh -c true", "http://127.0.0.1:1/x"])
async def test_a_repository_that_cannot_be_read_is_unavailable_with_gits_words(tmp_path, address):
    with GroupKeeper() as keeper:
        checkouts = GitCheckouts(Remote(address, os.environ), tmp_path / "checkouts", Programs(keeper).run)
        with pytest.raises(UnavailableError, match="git ls-remote ended with 128: "):
            await checkouts.make(entry("a" * 40), "")


def test_a_token_is_in_the_environment_for_its_address_alone_and_never_shown():
    remote = Remote("https://github.com/acme/x.git", {"PATH": "/bin", "AWS_SECRET": "1"}, "Basic c2VjcmV0")
    found = remote.environment()

    assert "c2VjcmV0" not in repr(remote)
    keys = {found[name]: found[name.replace("KEY", "VALUE")] for name in found if name.startswith("GIT_CONFIG_KEY_")}
    assert keys["http.https://github.com/acme/x.git.extraHeader"] == "Authorization: Basic c2VjcmV0"
    assert (keys["protocol.allow"], keys["protocol.https.allow"]) == ("never", "always")
    assert "AWS_SECRET" not in found

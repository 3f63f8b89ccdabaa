"""What runs of the receiver leave for later ones."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.adapters.git.test_checkouts import entry

from shipway.config.sections.webhooks import Webhooks
from shipway.entrypoints.webhooks.leftovers import Leftovers
from shipway.entrypoints.webhooks.process import environment_of

pytestmark = pytest.mark.anyio
COMMIT = "a" * 40


def checkout(tmp_path: Path, name: str) -> Path:
    root = tmp_path / name
    root.mkdir()
    return root


def kept(root: Path) -> Path:
    return root / ".shipway" / "pipeline" / "cache" / "entries" / "x.json"


async def test_a_branch_finds_its_own_cache_again_and_no_other_one_does(tmp_path):
    left = Leftovers(tmp_path / "caches", tmp_path / "logs")
    one, two, other = (checkout(tmp_path, name) for name in ("one", "two", "other"))
    await left.lend(entry(COMMIT), one)
    kept(one).write_text("kept")
    await left.lend(entry(COMMIT), two)
    await left.lend(entry(COMMIT, "refs/heads/feature"), other)

    assert kept(two).read_text() == "kept"
    assert not kept(other).exists()


async def test_a_fork_gets_no_cache(tmp_path):
    root = checkout(tmp_path, "one")
    await Leftovers(tmp_path / "caches", tmp_path / "logs").lend(replace(entry(COMMIT), fork=True), root)

    assert list(root.iterdir()) == []
    assert not (tmp_path / "caches").exists()


async def test_a_project_that_has_a_cache_already_keeps_it(tmp_path):
    root = checkout(tmp_path, "one")
    kept(root).parent.mkdir(parents=True)
    await Leftovers(tmp_path / "caches", tmp_path / "logs").lend(entry(COMMIT), root)

    assert not kept(root).parent.is_symlink()


async def test_what_is_nobodys_is_removed(tmp_path):
    left = Leftovers(tmp_path / "caches", tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    for run in ("OLD", "NEW"):
        left.log(run).write_text("printed")
    for number in range(25):
        await left.lend(entry(COMMIT, f"refs/heads/b{number}"), checkout(tmp_path, f"c{number}"))
    await left.tidy({"NEW"})

    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["NEW.log"]
    assert len(list((tmp_path / "caches").iterdir())) == 20


def test_a_run_sees_the_declared_variables_and_a_fork_does_not(tmp_path):
    settings = Webhooks.model_validate(
        {"repository": "../x", "github": {"secret": {"env": "HOOK"}}, "env": ["REGISTRY"], "forks": True}
    )
    environ = {"PATH": "/bin", "HOME": "/home/me", "REGISTRY": "r", "HOOK": "s", "AWS": "k", "LANG": "C"}
    own = environment_of(settings, environ, tmp_path, entry(COMMIT))
    fork = environment_of(settings, environ, tmp_path, replace(entry(COMMIT), fork=True))

    assert {"AWS", "HOOK"} & (set(own) | set(fork)) == set()
    assert (own["REGISTRY"], own["HOME"], own["LANG"]) == ("r", "/home/me", "C")
    assert own["PATH"].endswith(":/bin")
    assert ("REGISTRY" in fork, fork["HOME"]) == (False, str(tmp_path))

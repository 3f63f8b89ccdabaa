from dataclasses import replace
from pathlib import Path

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError, NotFoundError, StoreError
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.doctor import DoctorParts, diagnose
from shipway.services.hot_path import HotPath
from shipway.services.running import Running

pytestmark = pytest.mark.anyio

PROJECT = {
    "app": "a",
    "models": {"m": {"engine": "llamacpp", "model": "weights/m.gguf"}},
    "routes": {"ask": {"kind": "chat", "model": "m"}},
}


class Host:
    def is_locked(self, path):
        return False


async def no_faults():
    return []


async def never(app):
    raise AssertionError("no corpus is declared")


@pytest.fixture
def parts(tmp_path: Path) -> DoctorParts:
    workspace, clock = Workspace(tmp_path), ManualClock()
    return DoctorParts(
        workspace=workspace,
        running=Running(workspace, Host(), clock, 30.0),
        probe=None,
        settings=Project.model_validate(PROJECT),
        app=RunningInstallation("local", workspace, MemoryStore(), clock, "user:test"),
        check_store=no_faults,
        check_model=lambda model: None,
        check_retrieval=lambda model, kind: None,
        check_corpus=never,
    )


async def states(parts: DoctorParts) -> dict[str, str]:
    return {finding.check: finding.state for finding in await diagnose(parts)}


ALL_OK = dict.fromkeys(
    ("config", "disk", "store", "models", "engines", "corpus", "processes", "records", "rollout", "audit", "hot path"),
    "ok",
)


async def test_a_sound_installation_is_ok_in_every_row(parts):
    assert await states(parts) == ALL_OK


async def test_a_broken_project_file_is_one_row_and_what_needs_it_is_skipped(parts):
    broken = replace(parts, settings=ConfigError(["shipway.yaml:2: foo: unknown key"]))

    assert await states(broken) == ALL_OK | {
        "config": "problem",
        "models": "skipped",
        "engines": "skipped",
        "corpus": "skipped",
    }
    (config, *_) = await diagnose(broken)
    assert config.message == "shipway.yaml:2: foo: unknown key"


async def test_a_store_that_cannot_be_opened_is_one_row_and_what_needs_it_is_skipped(parts):
    broken = replace(parts, app=StoreError("state.db cannot be opened: it is read-only", hint="mount it writable"))

    assert await states(broken) == ALL_OK | {"store": "problem", "rollout": "skipped", "audit": "skipped"}
    store = (await diagnose(broken))[2]
    assert (store.message, store.fix) == ("state.db cannot be opened: it is read-only", "mount it writable")


async def test_without_project_file_and_store_the_rest_is_still_looked_at(parts):
    broken = replace(parts, app=StoreError("full"), settings=NotFoundError("no overlay"))

    found = await states(broken)

    assert [name for name, state in found.items() if state == "problem"] == ["config", "store"]
    assert (found["disk"], found["processes"]) == ("ok", "ok")


async def test_the_rollout_of_an_unknown_environment_is_not_called_well(parts):
    unknown = replace(parts.app, environment="")

    assert (await states(replace(parts, app=unknown)))["rollout"] == "skipped"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("half a file")])
async def test_a_check_that_breaks_is_a_problem_and_the_next_ones_run(parts, error):
    def broken(model: str) -> object:
        raise error

    found = {finding.check: finding for finding in await diagnose(replace(parts, check_model=broken))}

    assert found["models"].state == "problem"
    assert type(error).__name__ in found["models"].message
    assert found["audit"].state == "ok"


def spooled(parts: DoctorParts, size_bytes: int, *, collected: bool) -> DoctorParts:
    parts.workspace.spool.mkdir(parents=True)
    with (parts.workspace.spool / "a.jsonl").open("wb") as file:
        file.truncate(size_bytes)

    class Locked(Host):
        def is_locked(self, path):
            return collected and path == parts.workspace.collector_lock

    return replace(parts, running=replace(parts.running, host=Locked()))


@pytest.mark.parametrize(
    ("size_bytes", "collected", "state", "fix"),
    [
        (1_000_000, True, "ok", ""),
        (40_000_000, True, "warning", "shipway logs control"),
        (1_000_000, False, "warning", "shipway control"),
    ],
)
async def test_records_that_nobody_takes_to_the_store_are_a_warning(parts, size_bytes, collected, state, fix):
    found = {finding.check: finding for finding in await diagnose(spooled(parts, size_bytes, collected=collected))}

    assert found["records"].state == state
    assert fix in found["records"].fix


RAG = {
    "app": "a",
    "models": {"m": {"engine": "llamacpp", "model": "weights/m.gguf"}},
    "prompts": {"answer": "a.yaml"},
    "routes": {"ask": {"kind": "rag", "model": "m", "prompt": "answer"}},
    "corpus": {"embedding": "vectors", "sources": [{"path": "**", "tenant": "t", "groups": ["g"]}]},
    "retrieval": {"reranker": "ranks"},
}


async def test_models_of_retrieval_are_looked_for_as_what_they_are_and_not_as_generators(parts):
    generators, finders = [], []
    looked = replace(
        parts,
        settings=Project.model_validate(RAG),
        check_model=generators.append,
        check_retrieval=lambda model, kind: finders.append((model, kind)),
    )

    found = {finding.check: finding for finding in await diagnose(looked)}

    assert (generators, finders) == (["weights/m.gguf"], [("vectors", "embedding"), ("ranks", "reranker")])
    assert (found["models"].state, found["models"].message) == ("ok", "3 installed")


async def test_where_nothing_was_ever_stored_the_store_is_not_missed(parts):
    found = {finding.check: finding for finding in await diagnose(replace(parts, app=None))}

    assert found["store"].state == "ok"
    assert "none yet" in found["store"].message
    assert (found["rollout"].state, found["audit"].state) == ("skipped", "skipped")


async def test_a_corpus_that_was_never_built_is_a_warning_that_says_what_to_run(parts):
    found = await diagnose(replace(parts, app=None, settings=Project.model_validate(RAG)))

    corpus = next(finding for finding in found if finding.check == "corpus")
    assert (corpus.state, corpus.fix) == ("warning", "run `shipway rag build`")


@pytest.mark.parametrize(
    ("found", "state", "message"),
    [
        pytest.param(HotPath(0, ()), "ok", "python", id="pure"),
        pytest.param(HotPath(22, ()), "ok", "compiled (22 modules)", id="compiled"),
        pytest.param(
            HotPath(22, ("shipway.core.ids",)),
            "warning",
            "1 of 22 compiled modules are not for this Python: their source runs",
            id="for-another-python",
        ),
    ],
)
async def test_it_says_whether_the_hot_path_is_compiled(parts, found, state, message):
    findings = {finding.check: finding for finding in await diagnose(replace(parts, hot_path=lambda: found))}

    row = findings["hot path"]
    assert (row.state, row.message) == (state, message)
    assert bool(row.fix) == (state == "warning")

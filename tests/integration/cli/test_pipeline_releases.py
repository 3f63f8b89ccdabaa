"""A release that another job made is made once more where it is missing, and only as the same one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from shipway.core.errors import UsageError
from shipway.entrypoints.stages.work.releases import released
from shipway.entrypoints.wiring import opened
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

STAGE = StageSpec("gate", uses="evaluate", needs=("release",))


def context(release: str) -> StageContext:
    result = StageResult("release", StageState.PASSED, outputs={"release": release})
    return StageContext("run_1", 1, {"release": result})


async def here(root: Path, release: str) -> str:
    async with opened(root) as app:
        return await released(app, STAGE, context(release))


@pytest.mark.parametrize("kind", ["chat", "rag"])
def test_a_job_with_the_same_files_has_the_release_of_the_job_before(make_app: Callable[..., Any], kind: str) -> None:
    first, second = make_app(kind, "first"), make_app(kind, "second")
    if kind == "rag":
        assert first.run("rag", "build").code == 0
    made = json.loads(first.run("release", "create", "--json").out)["release"]
    assert anyio.run(here, second.root, made) == made
    assert made in second.run("release", "list").out


def test_a_job_with_other_files_is_refused_with_both_ids(make_app: Callable[..., Any]) -> None:
    first, second = make_app(name="first"), make_app(name="second")
    made = json.loads(first.run("release", "create", "--json").out)["release"]
    prompt = next((second.root / "prompts").iterdir())
    prompt.write_text(prompt.read_text() + "# another one\n")
    with pytest.raises(UsageError, match=f"make rel_[0-9a-f]+, the stage before made {made}"):
        anyio.run(here, second.root, made)

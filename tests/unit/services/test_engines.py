import json
from pathlib import Path
from typing import Any

import pytest

from shipway.config.project import Project
from shipway.services.engines import engine_faults

ROOT = Path("/nowhere")
LIST = json.dumps({"object": "list", "data": [{"id": "qwen"}, {"id": "llama"}]})


class Probe:
    """Answers from a table and notes what was asked with which headers."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers = {name.replace("_", "/"): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def status(self, url: str, headers: dict[str, str] | None = None) -> tuple[int, str] | None:
        self.asked.append((url, headers or {}))
        return next((answer for end, answer in self.answers.items() if url.partition("?")[0].endswith(end)), None)


def project(**entry: Any) -> Project:
    model = {"engine": "vllm", "model": "qwen", "base_url": "http://gpu:8000/v1", **entry}
    return Project.model_validate(
        {"app": "a", "models": {"big": model}, "routes": {"chat": {"kind": "chat", "model": "big"}}}
    )


async def faults(made: Project, probe: Probe, **environ: str) -> list[Any]:
    return await engine_faults(made, probe, root=ROOT, environ=environ)


async def test_an_engine_that_answers_and_has_the_model_is_well() -> None:
    probe = Probe(health=(200, ""), v1_models=(200, LIST))

    assert await faults(project(), probe) == []
    assert probe.asked == [("http://gpu:8000/health", {}), ("http://gpu:8000/v1/models", {})]


async def test_a_model_that_the_engine_does_not_list_is_named_with_those_it_has() -> None:
    (fault,) = await faults(project(model="gpt"), Probe(health=(200, ""), v1_models=(200, LIST)))

    assert (fault.alias, fault.what) == ("big", "the engine has no model 'gpt'; it lists llama, qwen")


@pytest.mark.parametrize("listed", [(404, ""), (200, "not json"), (200, "[]"), (200, '{"data":[{"id":"q')])
async def test_an_engine_without_a_list_that_can_be_read_is_not_accused(listed: tuple[int, str]) -> None:
    assert await faults(project(), Probe(health=(200, ""), v1_models=listed)) == []


async def test_an_engine_that_is_down_loading_or_refuses_the_key_is_told_apart() -> None:
    hosted = project(engine="openai", base_url="https://api.example.com/v1", api_key={"env": "K"})

    assert "nobody answers at http://gpu:8000/health" in (await faults(project(), Probe()))[0].what
    assert "answers 503" in (await faults(project(), Probe(health=(503, ""))))[0].what
    probe = Probe(v1_models=(401, ""))
    assert "refuses the key" in (await faults(hosted, probe, K="sk-1"))[0].what
    assert probe.asked[0][1] == {"authorization": "Bearer sk-1"}


async def test_a_key_that_is_not_there_is_a_fault_and_nothing_is_asked() -> None:
    probe = Probe()
    (fault,) = await faults(project(api_key={"env": "MISSING"}), probe)

    assert "MISSING" in fault.what
    assert probe.asked == []


async def test_azure_is_asked_with_its_header_and_not_for_the_deployment() -> None:
    made = project(engine="azure", base_url="https://acme.openai.azure.com", api_key={"env": "K"})
    probe = Probe(openai_models=(200, LIST))

    assert await faults(made, probe, K="k") == []
    assert probe.asked == [("https://acme.openai.azure.com/openai/models?api-version=2024-10-21", {"api-key": "k"})]


async def test_engines_that_are_started_here_are_not_asked() -> None:
    probe = Probe()

    assert await faults(project(engine="echo", base_url=None), probe) == []
    assert probe.asked == []

"""Which parts of a release changed files belong to, and where the files of CI systems belong."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from shipway.config.loading import load_project
from shipway.config.project import Project
from shipway.entrypoints.builtin_stages import catalogue
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.pipeline.compile.targets import targets
from shipway.services.pipeline_compile import changed_parts, part_paths, project_plan, repository_root

PROJECT = Project.model_validate(
    {
        "app": "a",
        "models": {"m": {"engine": "echo", "model": "echo"}},
        "prompts": {"chat": "prompts/chat.yaml"},
        "routes": {"ask": {"kind": "rag", "model": "m", "prompt": "chat"}},
        "code": {"paths": ["src/**"]},
        "corpus": {"root": "docs", "sources": [{"path": "**", "tenant": "t", "groups": ["g"]}]},
        "datasets": {"faq": {"path": "data/faq.jsonl"}},
        "evals": {"dataset": "evals/cases.jsonl"},
    }
)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ([], ()),
        (["README.md"], ()),
        (["src/a/b.py"], ("code",)),
        (["prompts/chat.yaml", "prompts/other.yaml"], ("prompt",)),
        (["docs/x/y.md"], ("data",)),
        (["data/faq.jsonl"], ("data",)),
        (["evals/cases.jsonl", "src/a.py"], ("code", "data")),
        (["shipway.yaml"], ("code", "prompt", "model", "data", "policy")),
        (["configs/production.yaml"], ("code", "prompt", "model", "data", "policy")),
        (None, ("code", "prompt", "model", "data", "policy")),
    ],
)
def test_a_changed_file_changes_the_parts_it_belongs_to(files: list[str] | None, parts: tuple[str, ...]) -> None:
    assert changed_parts(PROJECT, files) == parts


def test_the_dataset_that_evals_name_is_data_once() -> None:
    named = PROJECT.model_copy(update={"evals": PROJECT.evals.model_copy(update={"dataset": "faq"})})

    assert part_paths(named, "data") == ("shipway.yaml", "configs/**", "docs/**", "data/faq.jsonl")


def test_a_repository_is_the_nearest_folder_with_git_in_it(tmp_path: Path) -> None:
    project = tmp_path / "apps" / "one"
    project.mkdir(parents=True)

    assert repository_root(project) == project
    (tmp_path / "apps" / ".git").write_text("gitdir: elsewhere\n")
    assert repository_root(project) == tmp_path / "apps"


def test_there_is_a_hook_for_every_target_that_looks_at_its_file() -> None:
    hooks = yaml.safe_load((Path(__file__).parents[3] / ".pre-commit-hooks.yaml").read_text())
    found = {hook["id"]: hook for hook in hooks}

    assert set(found) == {"shipway-config", *(f"shipway-compile-{name}" for name in targets())}
    for name, target in targets().items():
        hook = found[f"shipway-compile-{name}"]
        assert shlex.split(hook["entry"]) == ["shipway", "pipeline", "compile", name, "--check"]
        for path in (target.path, "shipway.yaml", "apps/one/shipway.yaml", "configs/production.yaml"):
            assert re.search(hook["files"], path)
        assert not re.search(hook["files"], "src/app.py")


CORPUS = """corpus: { root: docs, sources: [{ path: "**", tenant: default, groups: [public] }] }
"""
JUDGE = """judges: { ours: { kind: embedded } }
evals: { dataset: cases.jsonl, judge: ours }
"""
DATASET = "gate, with: { dataset: x.jsonl }, needs"
STAGES = """pipeline:
  release: { uses: release }
  evaluate: { uses: evaluate, needs: [release] }
  gate: { uses: gate, needs: [evaluate] }
  own: { run: ["true"], needs: [gate] }
"""


@pytest.mark.parametrize(
    ("settings", "stages", "asking", "models"),
    [
        ("", STAGES, {"release", "evaluate"}, False),
        ("", STAGES.replace("gate, needs", DATASET), {"release", "evaluate", "gate"}, False),
        (CORPUS, STAGES, {"release", "evaluate"}, True),
        (CORPUS.replace("docs,", "docs, embedding: hashing,") + "retrieval: { reranker: null }\n", STAGES, None, False),
        (JUDGE.replace("embedded", "llm, model: echo"), STAGES, None, False),
        (JUDGE, STAGES, {"release", "evaluate", "gate"}, True),
    ],
)
def test_jobs_whose_stages_ask_models_are_known(
    tmp_path: Path, settings: str, stages: str, asking: set[str] | None, *, models: bool
) -> None:
    project = "app: a\nmodels: { echo: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: echo } }\n"
    (tmp_path / "shipway.yaml").write_text(project + settings + stages)
    found = Pipelines.of(load_project(tmp_path, {}))
    plan = project_plan(found.loaded, found.graph, "1", tmp_path, catalogue())
    assert plan.models is models
    assert {job.stage for job in plan.jobs if job.asks} == (asking or {"release", "evaluate"})

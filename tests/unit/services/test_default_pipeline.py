"""What a repository has, and what only looks like it."""

from pathlib import Path
from typing import Any

import pytest

from shipway.config.loading import LoadedProject, load_project
from shipway.core.errors import UsageError
from shipway.pipeline.standard.derive import NIGHTLY
from shipway.services.default_pipeline import default_pipeline, repository
from shipway.services.pipeline_file import append_pipeline, section_for
from shipway.services.pipelines import completed

HEAD = "app: shop # ours\nmodels: { m: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: m } }\n"


def project(root: Path, files: dict[str, str] | None = None, settings: str = "") -> LoadedProject:
    for name, text in ({"shipway.yaml": HEAD + settings} | (files or {})).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_project(root, {})


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"src/a.py": ""}, {"python": "src/a.py"}),
        ({".venv/lib/a.py": "", "node_modules/b.py": ""}, {"python": ""}),
        ({"ruff.toml": ""}, {"ruff": "ruff.toml"}),
        ({"pyproject.toml": "[tool.ruff.lint]\n[tool.mypy]\n"}, {"ruff": "pyproject.toml", "mypy": "pyproject.toml"}),
        ({"pyproject.toml": "[project]\nname = 'a'\n"}, {"ruff": "", "black": "", "mypy": "", "bandit": ""}),
        ({"pyproject.toml": "[tool.ruff"}, {"ruff": ""}),
        ({"pyproject.toml": "tool = 3"}, {"ruff": ""}),
        ({"setup.cfg": "[mypy]\nstrict = 1\n"}, {"mypy": "setup.cfg"}),
        ({"setup.cfg": "mypy"}, {"mypy": ""}),
        ({"tests/unit/test_a.py": ""}, {"tests": "tests", "integration": ""}),
        ({"test/a_test.py": ""}, {"tests": "test"}),
        ({"tests/README.md": "", "tests/conftest.py": "", "tests/testing.py": ""}, {"tests": ""}),
        ({"tests/integration/test_a.py": ""}, {"tests": "", "integration": "tests/integration"}),
        ({"tests/test_a.py": "", "tests/integration/test_b.py": ""}, {"integration": "tests/integration"}),
        ({"tests": "a file"}, {"tests": ""}),
        ({"Dockerfile": "FROM scratch\n"}, {"dockerfile": "Dockerfile", "image": "shop", "registry": False}),
        ({"Dockerfile/notes.md": ""}, {"dockerfile": ""}),
        ({"evals/cases.jsonl": "{}"}, {"dataset": "evals/cases.jsonl", "terms": ""}),
        ({"evals/cases.jsonl": '{}\n{"must_contain": ["a"]}'}, {"terms": "evals/cases.jsonl"}),
        ({"evals/cases.jsonl/part.jsonl": "{}"}, {"dataset": ""}),
        ({"evals/smoke.yaml": "[]"}, {"smoke": "evals/smoke.yaml"}),
        ({"load.yaml": "", "evals/chaos.yaml": ""}, {"load_plan": "load.yaml", "chaos_plan": "evals/chaos.yaml"}),
        ({"configs/staging.yaml": "{}"}, {"staging": "configs/staging.yaml"}),
    ],
)
def test_a_file_counts_for_what_it_is(tmp_path: Path, files: dict[str, str], found: dict[str, Any]) -> None:
    seen = repository(project(tmp_path, files))
    assert {name: getattr(seen, name) for name in found} == found


def test_the_strategy_is_that_of_the_projects_plan(tmp_path: Path) -> None:
    assert repository(project(tmp_path)).strategy == "canary"
    assert repository(project(tmp_path, settings="rollout: { strategy: rolling }\n")).strategy == "rolling"


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("{ build: ., image: registry.example.com/team/shop:1.2 }", "registry.example.com/team/shop"),
        ("{ build: ., image: 'localhost:5000/shop' }", "localhost:5000/shop"),
        ("{ build: ., image: shop }", "shop"),
        ("{ image: registry.example.com/team/other }", "shop"),
        ("{ build: ., image: registry.example.com/${NAME} }", "shop"),
        ("[]", "shop"),
    ],
)
def test_the_registry_is_the_one_of_the_service_that_is_built(tmp_path: Path, service: str, image: str) -> None:
    found = repository(project(tmp_path, {"compose.yaml": f"services:\n  app: {service}\n"}))
    assert (found.image, found.registry) == (image, image != "shop")


@pytest.mark.parametrize("text", ["services: 3\n", "a: [", "{}\n"])
def test_a_compose_file_that_says_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    assert repository(project(tmp_path, {"compose.yaml": text})).image == "shop"


def test_settings_decide_gates_limits_contact_corpus_and_branches(tmp_path: Path) -> None:
    settings = (
        "gates:\n"
        "  - { metric: recall_at_5, min: 0.7 }\n"
        "  - { metric: correct, min: 0.5 }\n"
        "  - { metric: correct, min: 0.9, tags: [easy] }\n"
        "  - { metric: tenant_leak, zero_tolerance: true }\n"
        "  - { model_update: true }\n"
        "contacts: [{ who: us, how: the red phone }, { who: team, how: 'env:TEAM_HOOK' }]\n"
        "corpus: { root: texts, sources: [{ path: '**', tenant: t, groups: [g] }] }\n"
        "ci: { branches: [trunk] }\n"
    )
    found = repository(project(tmp_path, {"texts/a.md": "a"}, settings))
    assert found.gates == {"limit", "safety", "regression"}
    assert (found.recall_metric, found.recall_min, found.keyword_min) == ("recall_at_5", 0.7, 0.5)
    assert (found.contact, found.corpus, found.branches) == ("env:TEAM_HOOK", "texts", ("trunk",))


def test_a_corpus_without_documents_is_not_built(tmp_path: Path) -> None:
    settings = "corpus: { root: texts, sources: [{ path: '**', tenant: t, groups: [g] }] }\n"
    assert repository(project(tmp_path, settings=settings)).corpus == ""


def test_a_project_with_stages_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    loaded = project(tmp_path, {"ruff.toml": "", "a.py": ""}, "pipeline: { own: { run: ['true'] } }\n")
    whole, found = completed(loaded)
    assert whole is loaded
    assert found is None


def test_a_derived_pipeline_has_a_time_for_its_schedule(tmp_path: Path) -> None:
    whole, found = completed(project(tmp_path))
    assert found is not None
    assert whole.project.pipeline == found.stages
    assert whole.project.ci.schedule == NIGHTLY
    kept, _ = completed(project(tmp_path, settings="ci: { schedule: '1 2 * * *' }\n"))
    assert kept.project.ci.schedule == "1 2 * * *"


@pytest.mark.parametrize("settings", ["", "ci: { python: '3.13' }\n", "# the end\n\n\n"])
def test_what_is_appended_keeps_every_line_and_is_the_derived_pipeline(tmp_path: Path, settings: str) -> None:
    loaded = project(tmp_path, {"a.py": "", "ruff.toml": "", "evals/cases.jsonl": "{}"}, settings)
    pipeline = default_pipeline(loaded)

    append_pipeline(loaded.root, pipeline, section_for(loaded, NIGHTLY, pipeline))

    text = (tmp_path / "shipway.yaml").read_text()
    assert text.startswith((HEAD + settings).rstrip() + "\n\n# The stages")
    again = load_project(tmp_path, {})
    assert again.project.pipeline == pipeline.stages
    assert again.project.ci.schedule == ("" if "python" in settings else NIGHTLY)
    assert not (tmp_path / "shipway.yaml.part").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{ app: shop, models: { m: { engine: echo, model: echo } }, routes: { chat: { kind: chat, model: m } } }\n",
        HEAD + "pipeline: {}\n",
    ],
)
def test_a_file_to_which_nothing_can_be_appended_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "shipway.yaml").write_text(text)
    loaded = load_project(tmp_path, {})
    pipeline = default_pipeline(loaded)

    with pytest.raises(UsageError, match="appended"):
        append_pipeline(tmp_path, pipeline, section_for(loaded, NIGHTLY, pipeline))

    assert [path.name for path in tmp_path.iterdir()] == ["shipway.yaml"]
    assert (tmp_path / "shipway.yaml").read_text() == text

"""A planned project is complete and valid before anything is written."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.loading import LoadedProject, load_project
from shipway.core.errors import UsageError
from shipway.evals.contracts.source import read_source
from shipway.evals.dataset import parse_dataset
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import check_gates
from shipway.evals.model import Dataset
from shipway.evals.smoke import parse_smoke
from shipway.pipeline.configured import configured_stages
from shipway.pipeline.graph import build_graph
from shipway.rag.sources import rule_for
from shipway.scaffold.apply import apply_plan
from shipway.scaffold.model import FilePlan, ProjectKind
from shipway.scaffold.plan import plan_lines, plan_project, suggested_name
from shipway.services.assertion_check import evaluation_problems

pytestmark = pytest.mark.anyio

KINDS: tuple[ProjectKind, ...] = get_args(ProjectKind)
COMMANDS = {
    "rag": ("models install", "up", "rag build", "release create", "eval run REL", "deploy REL"),
    "chat": ("models install", "up", "release create", "eval run REL", "deploy REL"),
    "http": ("up", "release create", "eval run REL", "deploy REL"),
}


def texts(plan: tuple[FilePlan, ...]) -> dict[str, str]:
    return {str(file.path): file.content for file in plan}


def cases_of(plan: tuple[FilePlan, ...], documents: set[str] | None = None) -> Dataset:
    return parse_dataset(texts(plan)["evals/cases.jsonl"].encode(), "evals/cases.jsonl", documents=documents)


async def loaded(kind: ProjectKind, root: Path, name: str = "desk") -> LoadedProject:
    await apply_plan(plan_project(kind, name), root)
    return load_project(root, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["desk", "null", "my-app_2"])
async def test_the_project_file_loads_and_has_the_given_name(kind: ProjectKind, name: str, tmp_path: Path) -> None:
    assert (await loaded(kind, tmp_path, name)).project.app == name


@pytest.mark.parametrize("kind", KINDS)
async def test_every_file_that_the_project_file_names_is_written(kind: ProjectKind, tmp_path: Path) -> None:
    project = (await loaded(kind, tmp_path)).project
    named = [
        project.evals.dataset,
        *filter(None, [project.evals.smoke]),
        *project.prompts.values(),
        *project.code.paths,
    ]
    assert [path for path in named if not (tmp_path / path).is_file()] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_evaluations_name_is_right_and_an_unguarded_model_says_so(kind: ProjectKind, tmp_path: Path) -> None:
    project = await loaded(kind, tmp_path)
    assert await evaluation_problems(project) == []
    if project.project.evals.smoke is not None:
        checks = parse_smoke(read_source((tmp_path / project.project.evals.smoke).read_bytes(), "smoke.yaml"))
        (harm,) = [check for check in checks if check.name == "refuses harm"]
        assert harm.open.startswith("no guard is configured") is (kind == "chat")


@pytest.mark.parametrize("kind", KINDS)
async def test_gates_and_pipeline_are_accepted_by_those_who_run_them(kind: ProjectKind, tmp_path: Path) -> None:
    project = (await loaded(kind, tmp_path)).project
    given = [gate.model_dump(exclude_defaults=True, exclude={"reason"}) for gate in project.gates]
    check_gates(parse_gates(given), cases_of(plan_project(kind, "desk")))
    assert list(build_graph(configured_stages(project.pipeline)).stages)[-1] == "deploy"


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_shows_every_step_and_a_call(kind: ProjectKind) -> None:
    readme = texts(plan_project(kind, "desk"))["README.md"]
    assert readme.startswith("# desk\n")
    assert [command for command in COMMANDS[kind] if f"shipway {command}" not in readme] == []
    assert '"Authorization: Bearer $SHIPWAY_KEY"' in readme


@pytest.mark.parametrize("kind", KINDS)
def test_state_and_secrets_are_kept_out_of_version_control(kind: ProjectKind) -> None:
    plan = texts(plan_project(kind, "desk"))
    assert {".shipway/", ".env"} <= set(plan[".gitignore"].split())
    assert re.findall(r"^[A-Z_]+=\S+", plan[".env.example"], re.MULTILINE) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_placeholder_is_left_and_every_file_ends_with_a_line(kind: ProjectKind) -> None:
    for path, content in texts(plan_project(kind, "desk")).items():
        assert "$name" not in content, path
        assert "$$" not in content, path
        assert content.endswith("\n"), path


@pytest.mark.parametrize(("kind", "fewest"), [("rag", 12), ("chat", 8), ("http", 8)])
def test_there_are_enough_cases_and_each_names_a_fact_or_is_unanswerable(kind: ProjectKind, fewest: int) -> None:
    cases = cases_of(plan_project(kind, "desk")).cases
    assert len(cases) >= fewest
    assert [case.id for case in cases if not (case.must_contain or case.unanswerable)] == []


def test_rag_cases_name_documents_that_the_asker_may_read_and_that_hold_the_facts(tmp_path: Path) -> None:
    plan = plan_project("rag", "desk")
    documents = {path.removeprefix("docs/"): text for path, text in texts(plan).items() if path.startswith("docs/")}
    corpus = yaml.safe_load(texts(plan)["shipway.yaml"])["corpus"]
    (tmp_path / "shipway.yaml").write_text(texts(plan)["shipway.yaml"])
    sources = load_project(tmp_path, {}).project.corpus.sources  # type: ignore[union-attr]
    assert (len(documents), corpus["root"]) == (5, "docs")
    for case in cases_of(plan, set(documents)).cases:
        for source in case.expected_sources:
            rule = rule_for(source, sources)
            assert rule is not None
            assert rule.tenant == case.tenant
            assert set(rule.groups) & set(case.groups), case.id
            for term in case.must_contain:
                alternatives = (term,) if isinstance(term, str) else term
                assert any(text.lower() in documents[source].lower() for text in alternatives), (case.id, term)


def test_staff_documents_are_for_staff_and_a_case_holds_it(tmp_path: Path) -> None:
    plan = plan_project("rag", "desk")
    (tmp_path / "shipway.yaml").write_text(texts(plan)["shipway.yaml"])
    sources = load_project(tmp_path, {}).project.corpus.sources  # type: ignore[union-attr]
    assert rule_for("staff/desk.md", sources).groups == ("staff",)  # type: ignore[union-attr]
    assert any(
        case.unanswerable and case.must_not_contain and case.groups == ("public",) for case in cases_of(plan).cases
    )


@pytest.mark.parametrize(("kind", "path"), [("rag", "prompts/answer.yaml"), ("chat", "prompts/chat.yaml")])
def test_a_prompt_file_has_the_fields_of_a_prompt(kind: ProjectKind, path: str) -> None:
    prompt = yaml.safe_load(texts(plan_project(kind, "desk"))[path])
    assert set(prompt) == {"name", "version", "description", "system", "examples", "user", "max_tokens"}
    assert "{question}" in prompt["user"]
    assert ("{passage}" in prompt["user"]) == (kind == "rag")
    assert all(set(example) == {"user", "assistant"} for example in prompt["examples"])


@pytest.mark.parametrize("name", ["", "Desk", "1st", "a b", "x" * 64, "über", "a\n"])
def test_a_name_that_an_app_cannot_have_is_refused_with_one_that_it_can(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be an app's name") as refused:
        plan_project("rag", name)
    hint = re.fullmatch(r"try '(.*)'", refused.value.hint)
    assert hint
    assert plan_project("rag", hint[1])


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no project of kind 'agent'") as refused:
        plan_project("agent", "desk")  # type: ignore[arg-type]
    assert refused.value.hint == "there are chat, rag, http"


@given(st.text())
def test_the_suggested_name_is_always_one_that_an_app_can_have(text: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", suggested_name(text))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("nc-ünï cödé d", "nc-uni-code-d"),
        ("u\u0308ber", "uber"),
        ("Straße Łódź Ærø", "strasse-lodz-aero"),
        ("\uff46\uff55\uff4c\uff4c \ufb01le", "full-file"),
        ("my--app__x", "my-app__x"),
        ("2024-01 shop", "shop"),
        ("a" * 62 + " b", "a" * 62),
        ("日本", "app"),
        ("...", "app"),
    ],
)
def test_a_folders_name_becomes_a_readable_app_name(folder: str, name: str) -> None:
    assert suggested_name(folder) == name


def test_the_plan_is_shown_one_line_a_file() -> None:
    plan = plan_project("http", "desk")
    lines = plan_lines(plan)
    assert [line.split()[0] for line in lines] == [str(file.path) for file in plan]
    assert lines[0].endswith(f"{plan[0].size_bytes} bytes")

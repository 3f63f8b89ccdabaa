"""Everything that a project names and that is not there or not right is found in one run."""

from pathlib import Path

import anyio
import pytest

from shipway.config.loading import load_project
from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.services.models import ModelKind
from shipway.services.project_check import CheckParts, project_problems, project_warnings, startup_problems

PROJECT = """\
app: shop
code:
  paths:
    - "app/**"
models:
  small:
    engine: llamacpp
    model: tiny
prompts:
  answer: prompts/answer.yaml
  other: prompts/other.yaml
routes:
  ask: {kind: rag, model: small, prompt: answer}
corpus:
  root: papers
  embedding: vectors
  sources:
    - {path: "acme/**", tenant: t, groups: [public]}
evals:
  dataset: evals/cases.jsonl
gates:
  - {metric: correct, min: 0.5}
"""


CASES = "".join(f'{{"id": "{name}", "question": "A?", "must_contain": ["a"]}}\n' for name in "abcde")


class FakeModels:
    """Knows `tiny`, and the models of retrieval that Shipway has; nothing else is installed."""

    def path(self, model: str, root: Path) -> Path:
        if model != "tiny":
            raise NotFoundError(f"model {model!r} is not installed", hint="run `shipway models install`")
        return root / model

    def retrieval(self, model: str, kind: ModelKind) -> tuple[Path, Path]:
        if model == "unknown":
            raise UsageError(f"{model!r} is no {kind} model", hint="there are: vectors")
        return Path(model), Path(kind)


class FakePrompts:
    """Refuses a prompt that says so."""

    def check(self, data: bytes, shown_as: str) -> None:
        if data == b"broken":
            raise ConfigError([f"{shown_as}: system: is missing"], hint="a prompt has a system text")


def problems(root: Path) -> list[str]:
    parts = CheckParts(FakePrompts(), FakeModels(), {".md"})
    return anyio.run(project_problems, load_project(root, {}), parts)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "shipway.yaml": PROJECT,
        "app/main.py": "pass\n",
        "prompts/answer.yaml": "fine",
        "prompts/other.yaml": "fine",
        "papers/acme/a.md": "# A\n",
        "evals/cases.jsonl": CASES,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(root: Path, before: str, after: str) -> None:
    text = (root / "shipway.yaml").read_text()
    assert before in text
    (root / "shipway.yaml").write_text(text.replace(before, after))


def test_a_project_with_everything_in_place_has_no_problems(project):
    assert problems(project) == []


def test_all_problems_are_found_in_one_run_each_with_its_place(project):
    (project / "prompts" / "answer.yaml").unlink()
    (project / "prompts" / "other.yaml").write_text("broken")
    (project / "papers").rename(project / "docs")
    (project / "app" / "main.py").unlink()
    edit(project, "model: tiny", "model: huge")
    edit(project, "embedding: vectors", "embedding: unknown")
    edit(project, "metric: correct", "metric: corect")
    with (project / "evals" / "cases.jsonl").open("a") as cases:
        cases.write('{"id": "a", "question": "Again?"}\nnot JSON\n')

    found = problems(project)

    assert [line.partition("; ")[0] for line in found] == [
        "shipway.yaml:4: code.paths[0]: 'app/**' matches no file in the project",
        "shipway.yaml:10: prompts.answer: prompts/answer.yaml: no such file",
        "prompts/other.yaml: system: is missing",
        "shipway.yaml:8: models.small.model: model 'huge' is not installed",
        "shipway.yaml:16: corpus.embedding: 'unknown' is no embedding model",
        "shipway.yaml:15: corpus.root: 'papers' is not a directory",
        "evals/cases.jsonl:6: id: 'a' is already the id of line 1",
        "evals/cases.jsonl:7: not JSON at column 1 (Expecting value)",
        "shipway.yaml:22: gates[0]: unknown metric 'corect'",
    ]
    assert "shipway.yaml:8: models.small.model: model 'huge' is not installed; run `shipway models install`" in found


def test_documents_that_a_build_would_refuse_are_named_by_their_path(project):
    (project / "papers" / "stray.md").write_text("x")
    (project / "papers" / "acme" / "a.png").write_text("x")
    assert [line.partition(";")[0] for line in problems(project)] == [
        "papers/acme/a.png: unknown suffix '.png'",
        "papers/stray.md: no rule says who may read it",
    ]


def test_a_folder_without_documents_is_a_problem(project):
    (project / "papers" / "acme" / "a.md").unlink()
    assert problems(project) == [
        "shipway.yaml:15: corpus.root: 'papers' holds no documents; add documents or change `corpus.root`"
    ]


def test_a_value_that_is_a_default_is_placed_at_its_section(project):
    edit(project, "  root: papers\n", "")
    assert problems(project) == [
        "shipway.yaml:14: corpus.root: 'docs' is not a directory; create it or change `corpus.root`"
    ]


def test_a_credential_in_a_prompt_is_named_by_line_and_not_repeated(project):
    secret = "sk-proj-" + "Zq3" * 12
    (project / "prompts" / "answer.yaml").write_text(f"system: x\nuser: {secret}\n")
    (line,) = problems(project)
    assert line.startswith("prompts/answer.yaml:2: this looks like a credential in clear text; ")
    assert secret not in line


def test_a_drop_that_the_cases_cannot_show_is_found_before_an_evaluation(project):
    edit(project, "min: 0.5", "non_regression: 0.001")
    (line,) = problems(project)
    assert line.startswith("shipway.yaml:22: gates[0]: gate 'correct does not regress'")


def test_the_cases_alone_are_blamed_when_a_gate_cannot_be_judged_without_them(project):
    edit(project, "min: 0.5", "non_regression: 0.001")
    (project / "evals" / "cases.jsonl").unlink()
    assert problems(project) == [
        "shipway.yaml:20: evals.dataset: evals/cases.jsonl: no such file; write the cases or correct the path"
    ]


def test_models_that_need_no_file_are_not_looked_for(project):
    edit(project, "engine: llamacpp\n    model: tiny", "engine: echo\n    model: huge")
    edit(project, "embedding: vectors", "embedding: hashing")
    edit(project, "evals:\n", "retrieval: {reranker: null}\nevals:\n")
    assert problems(project) == []


def test_a_case_that_expects_a_document_which_is_not_there_is_found_with_its_line(project):
    (project / "evals/cases.jsonl").write_text(
        '{"id": "a", "question": "A?", "tenant": "t", "expected_sources": ["acme/a.md"]}\n'
        '{"id": "b", "question": "B?", "tenant": "t", "expected_sources": ["acme/b.md"]}\n'
    )

    (problem,) = problems(project)

    assert problem.startswith("evals/cases.jsonl:2: expected_sources[0]: no document 'acme/b.md' in the corpus")


def test_a_case_of_a_tenant_that_no_rule_has_is_found_unless_it_is_to_be_declined(project):
    (project / "evals/cases.jsonl").write_text(
        '{"id": "a", "question": "A?", "tenant": "acmee", "must_contain": ["a"]}\n'
        '{"id": "b", "question": "B?", "tenant": "stranger", "unanswerable": true}\n'
    )

    (problem,) = problems(project)

    assert problem.startswith("evals/cases.jsonl:1: tenant: no rule of corpus.sources has tenant 'acmee'")


def test_gates_that_would_judge_no_case_are_found(project):
    edit(project, "evals:\n", "evals:\n  split: test\n")
    (project / "evals/cases.jsonl").write_text('{"id": "a", "question": "A?", "split": "calibration"}\n')

    found = problems(project)

    assert any("evals.split: no case of evals/cases.jsonl has the split 'test'" in problem for problem in found)


def test_what_the_processes_need_is_looked_at_alone(project):
    edit(project, "model: tiny", "model: missing")
    (project / "prompts/other.yaml").unlink()
    (project / "evals/cases.jsonl").unlink()
    loaded = load_project(project, {})

    found = anyio.run(startup_problems, loaded, CheckParts(FakePrompts(), FakeModels(), {".md"}))

    assert [problem.partition(":")[0] for problem in found] == ["shipway.yaml", "shipway.yaml"]
    assert "'missing' is not installed" in "".join(found)
    assert "prompts/other.yaml: no such file" in "".join(found)


def test_a_secret_that_is_not_set_here_is_a_warning_with_its_line_and_no_problem(project):
    edit(project, "    model: tiny\n", "    model: tiny\n    api_key: {env: SHOP_KEY}\n")
    loaded = load_project(project, {})

    assert problems(project) == []
    (warning,) = project_warnings(loaded, {})
    assert warning.startswith("shipway.yaml:9: models.small.api_key: environment variable SHOP_KEY")
    assert project_warnings(loaded, {"SHOP_KEY": "x"}) == []


def test_a_gate_that_the_cases_can_never_decide_is_found_with_its_line_and_an_alternative(project):
    edit(project, "min: 0.5", "min: 0.9")
    (line,) = problems(project)
    assert line == (
        "shipway.yaml:22: gates[0]: gate 'correct >= 0.9': 5 cases, all of them right, show at least 0.549, which is"
        " not 0.9: it can never pass; 0.9 takes 29 cases; add cases, or set a limit that these can prove."
    )


def test_gates_with_other_alphas_than_the_first_are_found_with_their_lines(project):
    more = "".join(f"  - {{metric: correct, non_regression: 0.9, alpha: {alpha}}}\n" for alpha in (0.1, 0.2, 0.1))
    (project / "shipway.yaml").write_text(PROJECT + more)
    (line,) = problems(project)
    assert line.startswith("shipway.yaml:24: gates[2]: gate 'correct does not regress': alpha 0.2, but")


def test_a_model_update_that_the_cases_cannot_show_is_found(project):
    (project / "shipway.yaml").write_text(PROJECT + "  - {model_update: true}\n")
    (line,) = problems(project)
    assert line.startswith("shipway.yaml:21: gates: gate 'correct does not regress': 5 cases cannot see a drop of 0.25")


def test_an_entry_of_the_quarantine_that_expired_is_found_with_its_line(project):
    (project / "evals" / "quarantine.yaml").write_text(
        "quarantine:\n"
        "  - {case: a, owner: ann, until: 2020-01-01, reason: two right answers}\n"
        "  - {case: b, owner: ann, until: 9999-01-01, reason: two right answers}\n"
        "  - {case: z, owner: ann, until: 9999-01-01, reason: two right answers}\n"
    )
    assert [line.partition(";")[0] for line in problems(project)] == [
        "evals/quarantine.yaml:2: quarantine[0].until: expired on 2020-01-01",
        "evals/quarantine.yaml:4: quarantine[2].case: no case 'z' in the dataset",
    ]

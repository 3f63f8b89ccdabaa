"""The stages that run programs: here the programs are scripts, so that every end of one can be had."""

import json
import sys
from pathlib import Path

import pytest

from shipway.core.verdicts import Verdict
from shipway.entrypoints.builtin_stages import builtin_stages, catalogue
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parents[2] / "pipeline" / "tools" / "recorded"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return what puts a script on PATH, before the real programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    # What stands beside the interpreter must not stand in for a program that is missing here.
    monkeypatch.setattr(sys, "executable", str(folder / "python"))

    def add(name, body):
        script = folder / name
        script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{name} 9.9"; exit 0; }}\n{body}\n')
        script.chmod(0o755)

    return add


async def run(tmp_path, uses, *, report="", **options):
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    stage = StageSpec("check", uses=uses, with_=options, report=report)
    context = StageContext("run", 1, {})
    outcome = await builtin_stages(project)[uses](stage, context)
    return outcome, context.output.text(), project


async def test_findings_fail_the_stage_and_stand_among_its_results(tmp_path, programs):
    programs("ruff", f"cat {RECORDED}/ruff.json; exit 1")
    outcome, said, _ = await run(tmp_path, "lint")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.outputs["failures"] == 8
    assert outcome.outputs["findings"]["tool"] == "ruff 9.9"
    assert "FAIL ruff/F401" in said


async def test_nothing_found_passes(tmp_path, programs):
    programs("ruff", "echo '[]'")
    outcome, _, _ = await run(tmp_path, "format")
    assert (outcome.verdict, outcome.outputs["failures"]) == (Verdict.PASS, 0)


@pytest.mark.parametrize(
    ("uses", "install"),
    [
        ("lint", "ruff is not installed: pip install ruff"),
        ("black", "black is not installed: pip install black"),
        ("types", "mypy is not installed: pip install mypy"),
        ("security", "bandit is not installed: pip install bandit"),
        ("radon", "radon is not installed: pip install radon"),
        ("interrogate", "interrogate is not installed: pip install interrogate"),
        ("secrets", "detect-secrets is not installed: pip install detect-secrets"),
        ("dependencies", "pip-audit is not installed: pip install pip-audit"),
        ("tests", "pytest is not installed: pip install pytest"),
    ],
)
async def test_a_missing_program_is_an_error_that_says_how_to_install_it(tmp_path, programs, uses, install):
    del programs
    outcome, _, _ = await run(tmp_path, uses)
    assert (outcome.verdict, outcome.problem) == (Verdict.ERROR, install)


async def test_a_program_that_is_killed_is_an_error(tmp_path, programs):
    programs("ruff", "kill -9 $$")
    outcome, _, _ = await run(tmp_path, "lint")
    assert (outcome.verdict, outcome.problem) == (Verdict.ERROR, "ruff was ended by signal 9")


async def test_output_that_is_no_text_is_an_error_and_what_it_says_beside_it_is_kept(tmp_path, programs):
    programs("ruff", r"printf '\377\376'; printf 'broken \377' >&2; exit 1")
    outcome, said, _ = await run(tmp_path, "lint")
    assert outcome.verdict is Verdict.ERROR
    assert "broken" in said


async def test_a_limit_lets_so_many_findings_pass(tmp_path, programs):
    programs("ruff", f"cat {RECORDED}/ruff.json; exit 1")
    outcome, _, _ = await run(tmp_path, "lint", max_findings=8)
    assert (outcome.verdict, outcome.outputs["open"], outcome.outputs["failures"]) == (Verdict.PASS, 8, 0)


@pytest.mark.parametrize(("report", "begins"), [("r/x.json", b"{"), ("r/x.xml", b"<testsuites"), ("r/x.sarif", b"{")])
async def test_the_report_file_holds_all_findings(tmp_path, programs, report, begins):
    programs("ruff", f"cat {RECORDED}/ruff.json; exit 1")
    _, _, project = await run(tmp_path, "lint", report=report)
    assert (project / report).read_bytes().startswith(begins)


async def test_tests_leave_their_files_where_they_are_wanted(tmp_path, programs):
    copied = (
        f'for word in "$@"; do case $word in --junit-xml=*) cp {RECORDED}/junit.xml "${{word#*=}}";; esac; done; exit 1'
    )
    programs("pytest", copied)
    outcome, _, project = await run(tmp_path, "tests", junit="out/junit.xml")
    assert outcome.verdict is Verdict.ERROR
    assert (outcome.outputs["tests"], outcome.outputs["failed"]) == (5, 1)
    assert (project / "out/junit.xml").read_bytes() == (RECORDED / "junit.xml").read_bytes()


async def test_programs_see_declared_variables_alone(tmp_path, programs, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    programs("ruff", 'env >&2; echo "[]"')
    _, said, _ = await run(tmp_path, "lint")
    assert "PATH=" in said
    assert "AWS_SECRET" not in said


async def test_files_without_an_installed_linter_are_said_to_be_unchecked(tmp_path, programs):
    programs("yamllint", "exit 0")
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.yaml").write_text("a: 1\n")
    (project / "Dockerfile").write_text("FROM scratch\n")
    outcome, said, _ = await run(tmp_path, "infrastructure")
    assert outcome.verdict is Verdict.PASS
    assert "NOT CHECKED: 1 Dockerfiles; hadolint is not installed" in said
    outcome, _, _ = await run(tmp_path, "infrastructure", missing="fail")
    assert outcome.verdict is Verdict.ERROR


async def test_without_any_such_file_there_is_no_verdict(tmp_path, programs):
    del programs
    outcome, _, _ = await run(tmp_path, "infrastructure")
    assert outcome.verdict is Verdict.NO_DATA


async def test_the_baseline_of_secrets_is_taken_from_the_project(tmp_path, programs):
    programs("detect-secrets", f"cat {RECORDED}/detect-secrets.json")
    project = tmp_path / "project"
    project.mkdir()
    document = json.loads((RECORDED / "detect-secrets.json").read_text())
    for row in document["results"]["src/app/main.py"]:
        row["is_secret"] = False
    (project / ".secrets.baseline").write_text(json.dumps(document))
    outcome, _, _ = await run(tmp_path, "secrets")
    assert outcome.verdict is Verdict.PASS


def test_what_asks_the_world_is_never_kept():
    known = catalogue()
    assert not known["dependencies"].cacheable
    assert not known["infrastructure"].cacheable
    assert known["lint"].cacheable
    assert known["lint"].tools == ("ruff",)

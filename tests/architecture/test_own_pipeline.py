"""The pipeline of this repository: it reads what it checks, and does what the single targets of the Makefile do."""

import re
import subprocess
from pathlib import Path

import pytest

from shipway.config.loading import load_project
from shipway.entrypoints.builtin_stages import catalogue
from shipway.pipeline.patterns import matches_any
from shipway.pipeline.spec import StageSpec
from shipway.services.pipelines import project_pipeline

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def stages() -> dict[str, StageSpec]:
    return dict(project_pipeline(load_project(ROOT, {}), catalogue()).stages)


@pytest.fixture(scope="module")
def python_files() -> list[str]:
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py", "*.pyi", "*.ipynb"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    found = [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    assert len(found) > 1000
    return found


def recipe(target: str) -> list[str]:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, target
    return [line.strip().removeprefix("@").replace("$(BIN)/", "") for line in found[1].splitlines()]


@pytest.mark.parametrize(
    ("stage", "folders"),
    [
        ("lint", ("",)),
        ("format", ("",)),
        ("types", ("src/", "benchmarks/")),
        ("imports", ("src/",)),
        ("dead-code", ("src/",)),
        ("unused-dependencies", ("src/",)),
        ("spelling", ("src/", "tests/", "examples/")),
    ],
)
def test_a_stage_runs_again_when_any_file_changed_that_it_checks(stages, python_files, stage, folders):
    unread = [name for name in python_files if name.startswith(folders) and not matches_any(name, stages[stage].inputs)]
    assert unread == []


def test_every_stage_is_kept_and_none_waits_for_another(stages):
    assert [name for name, stage in stages.items() if not (stage.inputs and stage.cache)] == []
    assert [name for name, stage in stages.items() if stage.needs] == []


@pytest.mark.parametrize(
    ("target", "names"),
    [("imports", ["imports"]), ("unused", ["dead-code", "unused-dependencies"]), ("spelling", ["spelling"])],
)
def test_a_single_target_calls_what_the_stage_calls(stages, target, names):
    assert [" ".join(stages[name].run or ()) for name in names] == recipe(target)


def test_the_builtin_stages_check_what_the_single_targets_check(stages):
    assert recipe("lint") == ["ruff check .", "ruff format --check ."]
    assert [(stages[name].uses, dict(stages[name].with_)) for name in ("lint", "format")] == [
        ("lint", {}),
        ("format", {}),
    ]
    paths = stages["types"].with_["paths"]
    assert recipe("types") == [f"MYPYPATH=src mypy {' '.join(paths)}"]


def test_make_check_runs_the_pipeline_in_the_installed_environment_and_then_the_tests():
    assert recipe("checks") == ["shipway pipeline run"]
    assert re.search(r"^checks: \$\(VENV\)/\.dev ", MAKEFILE, re.MULTILINE)
    assert re.search(r"^check: checks test ", MAKEFILE, re.MULTILINE)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make check"
    assert ".shipway/" in (ROOT / ".gitignore").read_text().splitlines()

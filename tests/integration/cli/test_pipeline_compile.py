"""`shipway pipeline compile` and `changed` as a user and a CI job type them."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.cli.conftest import App, run_here
from tests.unit.pipeline.compile.read_argo import read_argo
from tests.unit.pipeline.compile.read_circleci import read_circleci
from tests.unit.pipeline.compile.read_github import read_github
from tests.unit.pipeline.compile.read_gitlab import read_gitlab
from tests.unit.pipeline.compile.read_jenkins import read_jenkins

from shipway import __version__
from shipway.pipeline.compile.targets import targets

PROJECT = """app: small
models: { echo: { engine: echo, model: echo } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
ci: { repository: "https://git.example.com/a/b.git" }
code: { paths: ["src/**"] }
pipeline:
  build: { run: [sh, -c, "mkdir -p dist; echo 1 > dist/a"], outputs: [dist/a] }
  test: { run: [grep, "1", dist/a], needs: [build] }
"""
FILES = {
    "github": ".github/workflows/shipway.yml",
    "gitlab": ".gitlab-ci.yml",
    "argo": "argo.yaml",
    "jenkins": "Jenkinsfile",
    "circleci": ".circleci/config.yml",
}


@pytest.fixture
def app(tmp_path: Path) -> App:
    """A project in a folder of its repository."""
    made = App(tmp_path / "repository" / "app")
    made.write("shipway.yaml", PROJECT)
    made.write("prompts/chat.yaml", 'name: chat\nversion: "1"\ndescription: x\nsystem: s\nuser: "{question}"\n')
    made.write("src/a.py", "a = 1\n")
    git(made, "init", "-q")
    git(made, "add", ".")
    git(made, "commit", "-q", "-m", "first")
    return made


def git(app: App, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    folder = app.root.parent
    done = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("target", sorted(targets()))
def test_a_target_is_written_where_it_belongs_and_then_checked(app: App, target: str) -> None:
    file = app.root.parent / FILES[target]

    before = app.run("pipeline", "compile", target, "--check", "--json")
    assert (before.code, before.json["drifted"], file.exists()) == (1, ["the file is not there"], False)
    assert app.run("pipeline", "compile", target).out.startswith(f"{file} written: 2 jobs, plan sha256:")
    assert app.run("pipeline", "compile", target).out.startswith(f"{file} is up to date")
    assert app.run("pipeline", "compile", target, "--check").code == 0
    assert app.run("pipeline", "compile", target, "--output", "-").out == file.read_text()

    app.edit("shipway.yaml", "needs: [build]", "needs: [build], timeout_s: 60")
    drifted = app.run("pipeline", "compile", target, "--check")
    assert drifted.code == 1
    assert f"write it again: `shipway pipeline compile {target}`" in drifted.out


def test_a_file_that_somebody_changed_by_hand_is_named_by_place(app: App) -> None:
    app.run("pipeline", "compile", "github")
    file = app.root.parent / FILES["github"]
    file.write_text(file.read_text().replace("timeout-minutes: 40", "timeout-minutes: 41", 1))

    done = app.run("pipeline", "compile", "github", "--check", "--json")

    assert done.code == 1
    assert done.json["drifted"] == ["jobs.build.timeout-minutes: is '41', and the pipeline says '40'"]
    assert "41" in file.read_text()


def job_words(app: App, stage: str) -> list[str]:
    """The words after `shipway` with which the compiled job runs a stage, from the repository's root."""
    document: Any = yaml.safe_load((app.root.parent / FILES["github"]).read_text())
    run = next(step["run"] for step in document["jobs"][stage]["steps"] if step.get("name") == "Run")
    return shlex.split(run)[1:]


def test_jobs_run_their_stage_and_refuse_another_plan(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.root.parent)
    app.run("pipeline", "compile", "github")
    for stage in ("build", "test"):
        assert run_here(*job_words(app, stage)).code == 0

    file = app.root.parent / FILES["github"]
    digest = app.run("pipeline", "compile", "github", "--json").json["plan"]
    file.write_text(file.read_text().replace(digest, f"sha256:{'0' * 64}"))
    tampered = run_here(*job_words(app, "test"))
    assert (tampered.code, "the job was compiled from sha256:000" in tampered.err) == (2, True)

    app.run("pipeline", "compile", "github")
    app.edit("shipway.yaml", 'grep, "1"', 'grep, "2"')
    changed = run_here(*job_words(app, "test"))
    assert (changed.code, "the pipeline's definition or the version of Shipway is another" in changed.err) == (2, True)


def test_what_cannot_be_said_is_refused_before_anything_is_written(app: App) -> None:
    app.edit("shipway.yaml", "needs: [build]", "needs: [build], environment: '${{ secrets.X }}'")

    done = app.run("pipeline", "compile", "github")

    assert done.code == 2
    assert "shipway.yaml:9: pipeline.test.environment: '${{ secrets.X }}' is not carried into a CI file" in done.err
    assert not (app.root.parent / ".github").exists()


def test_what_cannot_be_said_of_a_derived_pipeline_comes_with_how_to_write_it_down(app: App) -> None:
    app.write("shipway.yaml", PROJECT.partition("ci:")[0])

    done = app.run("pipeline", "compile", "argo")

    assert done.code == 2
    assert "ci.repository" in done.err
    assert "shipway pipeline init --write" in done.err


def test_a_stage_with_all_that_it_needs_is_a_workflow_for_others(app: App) -> None:
    assert app.run("pipeline", "compile", "github", "--reusable", "build").code == 0
    text = (app.root.parent / ".github/workflows/shipway-build.yml").read_text()

    assert list(yaml.safe_load(text)["jobs"]) == ["build"]
    assert "workflow_call" in text
    assert app.run("pipeline", "compile", "github", "--reusable", "build", "--check").code == 0
    assert app.run("pipeline", "compile", "gitlab", "--reusable", "build").code == 2
    assert app.run("pipeline", "compile", "travis").code == 2


def test_changed_parts_follow_from_the_files_that_differ(app: App) -> None:
    assert app.run("pipeline", "changed", "--since", "HEAD").out == "\n"
    app.write("src/a.py", "a = 2\n")
    assert app.run("pipeline", "changed", "--since", "HEAD").out == "code\n"
    app.write("prompts/chat.yaml", "name: chat\n")
    (app.root.parent / "README.md").write_text("x")
    assert app.run("pipeline", "changed", "--since", "HEAD").out == "code,prompt\n"
    git(app, "add", ".")
    git(app, "commit", "-q", "-m", "second")
    assert app.run("pipeline", "changed", "--since", "HEAD~1", "--json").json["parts"] == ["code", "prompt"]


@pytest.mark.parametrize("since", ["0" * 40, "nowhere", "--output=x", ""])
def test_a_commit_that_git_does_not_know_may_have_changed_everything(app: App, since: str) -> None:
    done = app.run("pipeline", "changed", f"--since={since}", "--json")

    assert done.code == 0
    assert (done.json["parts"], done.json["known"]) == (["code", "prompt", "model", "data", "policy"], False)
    assert not (app.root / "x").exists()


@pytest.mark.parametrize("target", sorted(targets()))
@pytest.mark.parametrize("engine", ["echo", "llamacpp"])
def test_jobs_that_ask_models_install_what_that_takes(app: App, target: str, engine: str) -> None:
    settings = PROJECT[: PROJECT.index("pipeline:")] + JUDGED + "  unit: { run: [pytest], needs: [gate] }\n"
    model = "{ engine: llamacpp, model: smollm2-135m-instruct }"
    app.write(
        "shipway.yaml", settings if engine == "echo" else settings.replace("{ engine: echo, model: echo }", model)
    )
    text = app.run("pipeline", "compile", target, "--output", "-").out

    installs = [line.strip(" '\"-") for line in text.replace("\\n", "\n").splitlines() if "shipway" in line]
    installs = [line for line in installs if "pip install" in line or line.endswith("models install")]

    asks, other = (
        f"python -m pip install 'shipway[local]=={__version__}",
        f"python -m pip install shipway=={__version__}",
    )
    once = [asks] if engine == "echo" else [asks, "shipway models install"]
    assert [line.removeprefix("run: |-") for line in installs] == [*once, *once, other, *once, other]


READ = {
    "github": read_github,
    "gitlab": read_gitlab,
    "argo": read_argo,
    "circleci": read_circleci,
    "jenkins": read_jenkins,
}
JUDGED = """pipeline:
  release: { uses: release }
  evaluate: { uses: evaluate, needs: [release], outputs: [own.json] }
  gate: { uses: gate, needs: [evaluate] }
  canary: { uses: canary, needs: [gate] }
"""


@pytest.mark.parametrize("target", sorted(targets()))
def test_every_target_hands_the_evaluation_on_to_the_jobs_that_build_on_it(app: App, target: str) -> None:
    app.write("shipway.yaml", PROJECT[: PROJECT.index("pipeline:")] + JUDGED)
    assert app.run("pipeline", "compile", target).code == 0

    jobs = READ[target]((app.root.parent / FILES[target]).read_text()).jobs

    evidence = "app/.shipway/pipeline/results/evaluate.evidence.jsonl"
    assert set(jobs["evaluate"].keeps) == {"app/.shipway/pipeline/results/evaluate.json", "app/own.json", evidence}
    assert [name for name, job in jobs.items() if evidence in job.keeps] == ["evaluate"]
    # A workspace of CircleCI holds what all jobs before have put there.
    assert all({"evaluate", "*"} & jobs[name].fetches for name in ("gate", "canary"))

"""The stages for images, with scripts as builders."""

import subprocess
import sys

import pytest

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.builtin_stages import builtin_stages
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

pytestmark = pytest.mark.anyio

PROJECT = """app: small
models: { echo: { engine: echo, model: echo } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
"""
DIGEST = "sha256:" + "b" * 64
EACH_WORD = "while [ $# -gt 0 ]; do case $1 in {option}) echo '{text}' > \"$2\";; esac; shift; done"
WRITES = EACH_WORD.format(option="--metadata-file", text=f'{{"containerimage.digest": "{DIGEST}"}}')
LISTS = EACH_WORD.format(option="--output-file", text='{"bomFormat": "CycloneDX", "components": [{}]}')
MADE = {"release": StageResult("release", StageState.PASSED, outputs={"release": "rel_12ab"})}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a project in a repository, and PATH without any builder."""
    folder, bin_folder = tmp_path / "project", tmp_path / "bin"
    (folder / "prompts").mkdir(parents=True)
    bin_folder.mkdir()
    (folder / "shipway.yaml").write_text(PROJECT)
    (folder / "prompts/chat.yaml").write_text("name: chat\nversion: '1'\nsystem: s\nuser: '{question}'\n")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.test"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    for name in ("git", "sh", "cat", "env"):
        real = next(
            f"{path}/{name}"
            for path in ("/usr/bin", "/bin")
            if subprocess.run(["test", "-x", f"{path}/{name}"], check=False).returncode == 0
        )
        (bin_folder / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setattr(sys, "executable", str(bin_folder / "python"))
    return folder


def add(project, name, body):
    script = project.parent / "bin" / name
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{name} 9"; exit 0; }}\n'
        f'[ "$1 $2" = "buildx version" ] && {{ echo "github.com/docker/buildx v0"; exit 0; }}\n{body}\n'
    )
    script.chmod(0o755)


async def run(project, uses, **options):
    context = StageContext("run", 1, MADE)
    outcome = await builtin_stages(project)[uses](StageSpec("image", uses=uses, with_=options), context)
    return outcome, context.output.text()


async def test_an_image_is_named_after_commit_and_release_and_its_digest_is_recorded(project):
    add(project, "docker", WRITES)
    outcome, _ = await run(project, "image", repository="r.test/team/app", push=True)
    assert outcome.verdict is Verdict.PASS
    name, _, tag = outcome.outputs["image"].partition(":")
    assert name == "r.test/team/app"
    assert tag.endswith("-rel_12ab")
    assert outcome.outputs["digest"] == DIGEST
    assert outcome.outputs["pinned"] == f"r.test/team/app@{DIGEST}"


async def test_files_that_differ_from_the_commit_are_said_in_the_tag(project):
    add(project, "docker", WRITES)
    (project / "shipway.yaml").write_text(PROJECT + "# changed\n")
    outcome, _ = await run(project, "image", repository="r.test/app")
    assert "-dirty-rel_12ab" in outcome.outputs["image"]


async def test_no_builder_is_an_error_that_says_what_to_install(project):
    outcome, _ = await run(project, "image", repository="r.test/app")
    assert outcome.verdict is Verdict.ERROR
    assert "install docker" in outcome.problem


async def test_a_build_that_fails_is_an_error_with_its_last_words(project):
    add(project, "docker", "echo 'no such base image' >&2; exit 1")
    outcome, said = await run(project, "image", repository="r.test/app")
    assert (outcome.verdict, outcome.exit_code) == (Verdict.ERROR, 1)
    assert "no such base image" in outcome.problem
    assert "no such base image" in said


async def test_a_push_that_tells_no_digest_is_an_error(project):
    add(project, "docker", "exit 0")
    outcome, _ = await run(project, "image", repository="r.test/app", push=True)
    assert outcome.verdict is Verdict.ERROR
    assert "did not say its digest" in outcome.problem


async def test_a_secret_reaches_the_builder_in_a_file_and_nobody_else(project, monkeypatch):
    monkeypatch.setenv("NPM_TOKEN", "very-secret")
    add(
        project,
        "docker",
        'for word in "$@"; do case $word in id=*) cat "${word##*src=}" > seen;; esac; done; env; echo "$@"',
    )
    outcome, said = await run(project, "image", repository="r.test/app", build_secrets={"npm": "env:NPM_TOKEN"})
    assert outcome.verdict is Verdict.PASS
    assert (project / "seen").read_text() == "very-secret"
    assert "very-secret" not in said + str(outcome)


async def test_a_secret_that_is_written_out_is_refused(project):
    add(project, "docker", "exit 0")
    with pytest.raises(UsageError, match="secrets are named, not written") as refused:
        await run(project, "image", repository="r.test/app", build_secrets={"npm": "plain-secret"})
    assert "plain-secret" not in str(refused.value)


async def test_components_are_listed_in_a_file(project):
    add(project, "cyclonedx-py", LISTS)
    outcome, _ = await run(project, "sbom", out="dist/sbom.json")
    assert (outcome.verdict, outcome.outputs["components"]) == (Verdict.PASS, 1)
    assert (project / "dist/sbom.json").exists()


async def test_no_lister_is_an_error_that_says_what_to_install(project):
    outcome, _ = await run(project, "sbom")
    assert outcome.verdict is Verdict.ERROR
    assert "pip install cyclonedx-bom" in outcome.problem


async def test_docker_without_its_plugin_is_no_builder(project):
    script = project.parent / "bin" / "docker"
    script.write_text('#!/bin/sh\necho "unknown command: docker $1" >&2\nexit 1\n')
    script.chmod(0o755)
    outcome, _ = await run(project, "image", repository="r.test/app", builder="docker")
    assert outcome.verdict is Verdict.ERROR
    assert "install docker with buildx" in outcome.problem

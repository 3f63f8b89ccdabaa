"""The stages that build images and list what is in them, with the builder that is installed."""

import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.config.environment import process_environment
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.entrypoints.stages import images as options
from shipway.entrypoints.stages.work.checking import finished, tool_runner, write_product
from shipway.entrypoints.stages.work.references import resolved
from shipway.entrypoints.wiring import load
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tools.images import BUILDERS, INSTALL, ImageBuild, components_of, digest_of, image_tag
from shipway.pipeline.tools.model import SCRATCH, Tool, UnreadableOutputError
from shipway.pipeline.tools.reading import crash
from shipway.services.datasets import read_named

_GIT_TIMEOUT_S = 20.0
_SBOM = "sbom.json"


def image(project: Path | None) -> BuiltinStage:
    """Return the stage that builds an image."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Image.model_validate(dict(stage.with_))
        runner = tool_runner(root, stage, context)
        builder = await _builder(runner, wanted.builder)
        if not builder:
            said = "any of " + ", ".join(BUILDERS.values()) if wanted.builder == "auto" else BUILDERS[wanted.builder]
            return StageOutcome(Verdict.ERROR, problem=f"cannot find {said}: {INSTALL}")
        if builder == "kaniko" and wanted.build_secrets:
            raise UsageError(f"pipeline.{stage.name}: kaniko has no build secrets", hint="use another builder")
        labels, tag = await _names(root, context)
        async with _secret_files(root, wanted.build_secrets) as secrets:
            build = ImageBuild(
                f"{wanted.repository}:{tag}",
                wanted.dockerfile,
                wanted.context,
                wanted.target,
                wanted.platforms,
                wanted.build_args,
                labels,
                secrets,
                wanted.push,
                wanted.arguments,
            )
            return await _built(root, stage, context, build, builder)

    return run


def sbom(project: Path | None) -> BuiltinStage:
    """Return the stage that lists components."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Sbom.model_validate(dict(stage.with_))
        runner = tool_runner(root, stage, context)
        order = ("cyclonedx-py", "syft") if wanted.tool == "auto" else (wanted.tool,)
        name = next((name for name in order if runner.there(name)), "")
        if not name:
            said = f"{' and '.join(order)} not installed: pip install cyclonedx-bom"
            return StageOutcome(Verdict.ERROR, problem=said)
        done = await runner.run(_sbom_argv(name, wanted.source))
        data = done.files.get(_SBOM, b"")
        if done.code != 0:
            return StageOutcome(Verdict.ERROR, done.code, problem=crash(_tool(name), done))
        try:
            components = components_of(data)
        except UnreadableOutputError as error:
            return StageOutcome(Verdict.ERROR, problem=f"{name}: {error}")
        await write_product(root, wanted.out, data)
        version = await runner.version(name)
        report = FindingReport(stage.name, version, (Finding(name, "sbom", Verdict.PASS, rule="sbom/made"),))
        return await finished(root, stage, context, report, {"sbom": wanted.out, "components": components})

    return run


async def _built(root: Path, stage: StageSpec, context: StageContext, build: ImageBuild, builder: str) -> StageOutcome:
    runner = tool_runner(root, stage, context)
    files: dict[str, bytes] = {}
    for argv in (build.argv(builder), build.push_argv(builder)):
        if not argv:
            continue
        done = await runner.run(argv, streamed=True)
        if done.code != 0:
            return StageOutcome(Verdict.ERROR, done.code, problem=crash(_tool(argv[0]), done))
        files |= done.files
    try:
        digest = digest_of(files)
    except UnreadableOutputError as error:
        return StageOutcome(Verdict.ERROR, problem=str(error))
    if build.push and not digest:
        return StageOutcome(Verdict.ERROR, problem=f"{builder} pushed {build.name} and did not say its digest")
    version = await runner.version(BUILDERS[builder])
    outputs = {"image": build.name, "builder": builder, "pushed": build.push}
    if digest:
        outputs |= {"digest": digest, "pinned": f"{build.name.rpartition(':')[0]}@{digest}"}
    report = FindingReport(stage.name, version, (Finding(builder, build.name, Verdict.PASS, rule="image/built"),))
    return await finished(root, stage, context, report, outputs)


async def _names(root: Path, context: StageContext) -> tuple[dict[str, str], str]:
    """Return the labels of an image and its tag: commit, release and dataset."""
    commit = await anyio.to_thread.run_sync(_commit, root)
    releases = [str(item.outputs["release"]) for item in context.results.values() if item.outputs.get("release")]
    release = releases[-1] if releases else ""
    try:
        dataset = str((await read_named(load(root))).file.dataset.digest)
    except NotFoundError:
        # An app without cases: nothing to name.
        dataset = ""
    tag = image_tag(commit, release, dataset)
    if not tag:
        raise UsageError(
            "nothing names the image", hint="build in a git repository, or after a stage that makes a release"
        )
    named = {
        "org.opencontainers.image.revision": commit,
        "dev.shipway.release": release,
        "dev.shipway.dataset": dataset,
        "dev.shipway.run": context.run_id,
    }
    return {name: value for name, value in named.items() if value}, tag


def _commit(root: Path) -> str:
    """Return the commit, with a sign when files differ from it; empty outside of a repository."""

    def git(*words: str) -> str:
        argv = ["git", "-C", str(root), *words]
        done = subprocess.run(argv, capture_output=True, check=False, timeout=_GIT_TIMEOUT_S)
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        changed = bool(git("status", "--porcelain", "--untracked-files=no")) if commit else False
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"{commit}-dirty" if changed else commit


async def _builder(runner: LocalToolRunner, wanted: str) -> str:
    """Return the builder that is meant, or the first that can be used; empty when there is none."""
    for name in BUILDERS if wanted == "auto" else (wanted,):
        if runner.there(BUILDERS[name]) and (name != "docker" or await _has_buildx(runner)):
            return name
    return ""


async def _has_buildx(runner: LocalToolRunner) -> bool:
    """Tell whether docker has its plugin; without it docker answers every unknown word with its help."""
    return "buildx" in await runner.version("docker", ("buildx", "version"))


@asynccontextmanager
async def _secret_files(root: Path, references: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """Put secrets where a builder can read them, for as long as it builds."""
    with TemporaryDirectory(prefix="shipway-secrets-") as folder:
        paths: dict[str, str] = {}
        for name, reference in references.items():
            path = anyio.Path(folder) / f"{len(paths)}"
            await path.touch(0o600)
            await path.write_text(resolved(reference, root, process_environment(), name))
            paths[name] = str(path)
        yield paths


def _sbom_argv(name: str, source: str) -> list[str]:
    if name == "syft":
        return ["syft", "scan", "." if source == "environment" else source, "-o", f"cyclonedx-json={SCRATCH}/{_SBOM}"]
    what = ["environment"] if source == "environment" else ["requirements", source]
    reproducible = ["--output-reproducible", "--output-format", "JSON", "--output-file", f"{SCRATCH}/{_SBOM}"]
    return ["cyclonedx-py", *what, *reproducible]


def _tool(name: str) -> Tool:
    return Tool(name, INSTALL, lambda _output: ())

"""The stage that runs tests."""

from collections.abc import Callable, Mapping
from pathlib import Path

from shipway.entrypoints.stages.testing import Integration, Tests
from shipway.entrypoints.stages.work.beside import OFFLINE, Server, mock_llm, redis, running
from shipway.entrypoints.stages.work.checking import Check, checked, finished, tool_runner, write_product
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tools.pytest_run import COVERAGE, JUNIT, TestCall, numbers

_SERVERS: Mapping[str, Callable[[], Server]] = {"redis": redis, "mock-llm": mock_llm}


def tests(project: Path | None) -> BuiltinStage:
    """Return the stage that runs tests."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Tests.model_validate(dict(stage.with_))
        return await _tested(root, stage, context, wanted, {})

    return run


def integration(project: Path | None) -> BuiltinStage:
    """Return the stage that runs tests beside servers."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Integration.model_validate(dict(stage.with_))
        servers = [_SERVERS[name]() for name in wanted.beside]
        variables = {} if wanted.network else dict(OFFLINE)
        async with running(tool_runner(root, stage, context), servers) as known:
            return await _tested(root, stage, context, wanted, variables | known)

    return run


async def _tested(
    root: Path, stage: StageSpec, context: StageContext, wanted: Tests, variables: Mapping[str, str]
) -> StageOutcome:
    call = TestCall(wanted.paths, wanted.arguments, wanted.markers, wanted.cover, wanted.coverage_min)
    check = Check(call.tool, call.argv, {**call.variables, **variables}, streamed=True)
    report, output = await checked(tool_runner(root, stage, context), stage.name, check)
    await write_product(root, wanted.junit, output.files.get(JUNIT))
    await write_product(root, wanted.cobertura, output.files.get(COVERAGE))
    return await finished(root, stage, context, report, numbers(output))

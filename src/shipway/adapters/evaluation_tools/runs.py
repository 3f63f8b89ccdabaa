"""What the runs of all tools have in common: start, end, and the result file that must be there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.process import Ended, environment
from shipway.core.errors import DocumentError, UnavailableError
from shipway.core.findings import FindingReport
from shipway.evals.tools.files import SUITES, read_results
from shipway.evals.tools.ports import ToolName, ToolRequest

LARGEST_RESULT_BYTES = 500_000_000


async def ran(
    environments: Environments,
    argv: Sequence[str],
    request: ToolRequest,
    extra: Mapping[str, str],
    *,
    folder: Path | None = None,
    timeout_s: float | None = None,
) -> Ended:
    """Run a tool's program in an environment that reaches the request's endpoints alone.

    Raises:
        UnavailableError: it cannot be started.
    """
    asked = (request.target.base_url, request.judge.base_url)
    env = environment(environments.environ, request.folder, extra, reached=asked)
    try:
        return await environments.start(argv, folder or request.folder, env, timeout_s or request.timeout_s)
    except OSError as error:
        raise UnavailableError(
            f"{argv[0]} cannot be started: {error.strerror or error}", hint="install the tool again"
        ) from error


async def found_report(
    name: ToolName, file: Path, ended: Ended, *, fine: Sequence[int], request: ToolRequest
) -> FindingReport:
    """Return what a result file says. A program that was stopped, failed or left no file is a problem of the whole."""
    problems = [] if ended.code in fine else [f"{name} {ended.how}"]
    if not await anyio.Path(file).is_file():
        said = f"{name} left no result file, and {ended.how}" if not problems else f"{problems[0]}\nit left no result"
        return FindingReport(SUITES[name], "", (), (said,))
    beside = {item.name: await read_file(item) for item in sorted(file.parent.glob("samples_*.jsonl"))}
    try:
        report = read_results(name, await read_file(file), file.name, beside, threshold=request.threshold)
    except DocumentError as error:
        return FindingReport(SUITES[name], "", (), (*problems, f"{name}: {error.message}"))
    return replace(report, problems=(*problems, *report.problems))


async def read_file(file: Path) -> bytes:
    """Return a file of results.

    Raises:
        DocumentError: it is too large.
    """
    size = (await anyio.Path(file).stat()).st_size
    if size > LARGEST_RESULT_BYTES:
        raise DocumentError(file.name, f"is larger than {LARGEST_RESULT_BYTES // 1_000_000} MB")
    return await anyio.Path(file).read_bytes()

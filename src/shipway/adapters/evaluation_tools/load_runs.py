"""Running Locust, k6 and Artillery on a user's script, headless, bounded in time, and reading what they wrote."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from shipway.adapters.evaluation_tools.process import Ended, environment, run_program
from shipway.core.errors import DocumentError, NotFoundError, UnavailableError
from shipway.load.tool_results import (
    K6_TRENDS,
    LoadTool,
    ToolSummary,
    artillery_summary,
    k6_summary,
    locust_summary,
)

INSTALL: Mapping[LoadTool, str] = {
    LoadTool.LOCUST: "pip install locust",
    LoadTool.K6: "install the package k6 of Grafana, so that `k6 version` answers",
    LoadTool.ARTILLERY: "npm install --global artillery",
}
KEY_VARIABLE = "SHIPWAY_TARGET_KEY"
ADDRESS_VARIABLE = "SHIPWAY_TARGET_URL"
_LARGEST_BYTES = 50_000_000
_THRESHOLDS_CROSSED = 99
"""k6's exit code when its own thresholds do not hold."""


@dataclass(frozen=True, slots=True)
class ToolLoad:
    """A script, the server it asks, and how many users for how long; 0 users and seconds leave both to the script."""

    tool: LoadTool
    script: Path
    server: str
    users: int = 0
    ramp_s: float = 0.0
    for_s: float = 0.0
    timeout_s: float = 900.0
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ToolLoadEnded:
    """What a tool found, and what was wrong with its run; `broke_own` says that its own thresholds do not hold."""

    summary: ToolSummary
    problems: tuple[str, ...] = ()
    broke_own: bool = False


class LoadToolRuns:
    """Finds the tools by `path`, the value of PATH, and runs them with an environment of their own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def run(self, load: ToolLoad) -> ToolLoadEnded:
        """Run a tool to its end.

        Raises:
            UnavailableError: the tool is not installed, or wrote no result.
            NotFoundError: there is no such script.
        """
        program = shutil.which(load.tool.value, path=self._environ.get("PATH"))
        if program is None:
            raise UnavailableError(f"{load.tool.value} is not installed", hint=INSTALL[load.tool])
        if not await anyio.Path(load.script).is_file():
            raise NotFoundError(f"{load.script}: no such file", hint=f"give the script that {load.tool.value} runs")
        with TemporaryDirectory(prefix="shipway-load-") as made:
            folder = Path(made)
            extra = {ADDRESS_VARIABLE: load.server, "K6_NO_USAGE_REPORT": "true", "ARTILLERY_DISABLE_TELEMETRY": "true"}
            if load.tool is LoadTool.ARTILLERY:
                # It honours the proxy but not the list of what goes without one: loopback would be out of reach.
                extra |= {"HTTP_PROXY": "", "HTTPS_PROXY": ""}
            if load.key:
                extra[KEY_VARIABLE] = load.key
            env = environment(self._environ, folder, extra, reached=[load.server])
            argv = [program, *arguments(load, folder)]
            ended = await run_program(argv, load.script.resolve().parent, env, load.timeout_s)
            try:
                summary = await anyio.to_thread.run_sync(_read, load, folder)
            except (OSError, DocumentError) as error:
                tail = ended.how.replace(load.key, "***") if load.key else ended.how
                raise UnavailableError(f"{load.tool.value} wrote no result: {error}", hint=tail) from error
        return ToolLoadEnded(summary, _problems(load, ended, summary), _broke_own(load, ended))


def arguments(load: ToolLoad, folder: Path) -> list[str]:
    """Return the arguments of a tool; its results go into a folder."""
    script = str(load.script.resolve())
    match load.tool:
        case LoadTool.LOCUST:
            size = ["-u", str(load.users)] if load.users else []
            if load.users and load.ramp_s:
                size += ["-r", f"{load.users / load.ramp_s:g}"]
            # Without a time it runs for ever.
            ends = ["-t", f"{round(load.for_s or load.timeout_s * 0.8)}s"]
            found = ["-f", script, "--headless", "--only-summary", "--host", load.server, "--csv", str(folder / "out")]
            return [*found, *size, *ends]
        case LoadTool.K6:
            size = ["--vus", str(load.users)] if load.users else []
            ends = ["--duration", f"{round(load.for_s)}s"] if load.for_s else []
            kept = ["--summary-export", str(folder / "out.json"), "--summary-trend-stats", ",".join(K6_TRENDS)]
            passed = ["-e", f"{ADDRESS_VARIABLE}={load.server}"]
            return ["run", "--quiet", *kept, *passed, *size, *ends, script]
        case LoadTool.ARTILLERY:
            return ["run", "--quiet", "--target", load.server, "--output", str(folder / "out.json"), script]


def _read(load: ToolLoad, folder: Path) -> ToolSummary:
    match load.tool:
        case LoadTool.LOCUST:
            failures = folder / "out_failures.csv"
            failed = _data(failures).decode(errors="replace") if failures.is_file() else ""
            return locust_summary(_data(folder / "out_stats.csv").decode(errors="replace"), failed, load.for_s)
        case LoadTool.K6:
            return k6_summary(_data(folder / "out.json"))
        case LoadTool.ARTILLERY:
            return artillery_summary(_data(folder / "out.json"))


def _data(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST_BYTES:
        raise DocumentError(file.name, f"is larger than {_LARGEST_BYTES} bytes")
    return file.read_bytes()


def _problems(load: ToolLoad, ended: Ended, summary: ToolSummary) -> tuple[str, ...]:
    if not summary.requests:
        return (f"{load.tool.value} made no request",)
    # Locust ends with 1 when requests failed, which the error rate says already.
    expected = {0, 1} if load.tool is LoadTool.LOCUST and summary.errors else {0}
    if ended.code in expected or _broke_own(load, ended):
        return ()
    return (f"{load.tool.value} {ended.how.replace(load.key, '***') if load.key else ended.how}",)


def _broke_own(load: ToolLoad, ended: Ended) -> bool:
    return load.tool is LoadTool.K6 and ended.code == _THRESHOLDS_CROSSED

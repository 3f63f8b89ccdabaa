"""The environments that `make test-tools` makes, a known endpoint, and one file for what the runs took."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.tools.endpoint import Endpoint

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.tools import LocalTools
from shipway.config.environment import process_environment
from shipway.core.findings import FindingReport
from shipway.evals.model import Case
from shipway.evals.tools import ports

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-tools"
RESULTS = ROOT / "benchmarks" / "results" / "tools.json"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.close()


@pytest.fixture
def cases() -> tuple[Case, ...]:
    """One that is answered rightly, one about who pays, and one that gets a wrong answer."""
    return (
        Case(
            "period", "How long can I return it?", reference="30 days", context=("Goods can be returned in 30 days.",)
        ),
        Case("cost", "Who pays for the return?", reference="You pay", context=("The buyer pays for the way back.",)),
        Case("trains", "Do you repair it?", reference="For two years", context=("Goods can be returned in 30 days.",)),
    )


@dataclass
class Tool:
    """A tool that is run against the endpoint; what it took is noted."""

    name: ports.ToolName
    endpoint: Endpoint
    folder: Path
    took: dict[str, Any] = field(default_factory=dict)

    def run(self, source: Path, *, target: str = "answers", judge: str = "judge", **more: Any) -> FindingReport:
        tools = LocalTools(Environments(ENVIRONMENTS, process_environment()))
        self.folder.mkdir()
        request = ports.ToolRequest(
            source=source,
            target=ports.Endpoint(self.endpoint.url, target),
            judge=ports.Endpoint(self.endpoint.url, judge, embedding_model="vectors"),
            folder=self.folder,
            **{"timeout_s": 200.0, "case_timeout_s": 20.0, **more},
        )
        start_s = time.monotonic()
        report = anyio.run(tools.run, self.name, request)
        self.took = {
            "version": report.tool_version or _pinned(self.name),
            "wall_s": round(time.monotonic() - start_s, 1),
            "requests": len(self.endpoint.hits),
            "verdicts": _counted(report),
        }
        return report


def _pinned(name: str) -> str:
    """Return the version that is installed, of a tool whose results do not say it."""
    found = (item.name for item in (ENVIRONMENTS / name).glob(f"lib/python3*/site-packages/{name}-*.dist-info"))
    return next(found, "").removeprefix(f"{name}-").removesuffix(".dist-info")


def _counted(report: FindingReport) -> dict[str, int]:
    found = [item.verdict.value for item in report.findings]
    return {verdict: found.count(verdict) for verdict in sorted(set(found))}


@pytest.fixture
def tool(endpoint: Endpoint, tmp_path: Path) -> Callable[[ports.ToolName], Tool]:
    """Return a tool by name; without its environment the test is skipped, as `make test` runs where none is made."""

    def found(name: ports.ToolName) -> Tool:
        if not (ENVIRONMENTS / name / ".shipway-lock").is_file():
            pytest.skip(f"{name} is not installed; `make test-tools` does that")
        return Tool(name, endpoint, tmp_path / "run")

    return found


@pytest.fixture(scope="session")
def noted() -> Iterator[dict[str, Any]]:
    """What each adapter's real run took; written once, when all tools were there."""
    rows: dict[str, Any] = {}
    yield rows
    names = {*ports.TOOLS, "great-expectations"}
    if names <= rows.keys():
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        RESULTS.write_text(json.dumps({**machine, "tools": dict(sorted(rows.items()))}, indent=2) + "\n")

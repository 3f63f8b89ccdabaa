"""What running other people's tools needs; adapters implement it, `services/tool_runs` uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from shipway.core.findings import FindingReport
from shipway.evals.model import Case
from shipway.evals.tools.scored import THRESHOLD

ToolName = Literal["promptfoo", "lm-eval", "deepeval", "ragas", "inspect"]
TOOLS: tuple[ToolName, ...] = get_args(ToolName)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint, its address up to and including `/v1`; `embedding_model` is for judges."""

    base_url: str
    model: str
    api_key: str = ""
    embedding_model: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One run of a tool.

    `source` is the tool's own file, or the file that `cases` are from. `judge` answers for the tool's judges. `metrics`
    are the tool's names of them. `folder` is where the run leaves what it writes; `timeout_s` is for the whole of it.
    """

    source: Path
    target: Endpoint
    judge: Endpoint
    folder: Path
    cases: tuple[Case, ...] = ()
    metrics: tuple[str, ...] = ()
    repeats: int = 1
    concurrency: int = 4
    threshold: float = THRESHOLD
    timeout_s: float = 600.0
    case_timeout_s: float = 60.0


class EvaluationTools(Protocol):
    """Other people's tools, each in an environment of its own."""

    async def install(self, name: ToolName) -> Path:
        """Make a tool's environment anew and return its folder.

        Raises:
            UnavailableError: the installer is missing or fails; the message has its last lines.
        """

    async def run(self, name: ToolName, request: ToolRequest) -> FindingReport:
        """Run a tool. What goes wrong on the way (time-out, no result) is a problem of the report.

        Raises:
            NotFoundError: it is not installed.
            UsageError: the source is not what the tool runs.
        """


class ExpectationTool(Protocol):
    """Great Expectations, in an environment of its own."""

    async def install(self) -> Path:
        """Make its environment anew and return the folder.

        Raises:
            UnavailableError: the installer is missing or fails.
        """

    async def validate(self, cases: Sequence[Case], suite: bytes, file: str, timeout_s: float) -> FindingReport:
        """Return what a suite finds; a time-out or a missing result is a problem of the report.

        Raises:
            NotFoundError: it is not installed.
            DocumentError: the file is no suite.
        """

"""Other people's evaluation tools on this machine: implements `evals.tools.ports.EvaluationTools`."""

from dataclasses import dataclass
from pathlib import Path

from shipway.adapters.evaluation_tools.driven import run_driver
from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.lm_eval import run_lm_eval
from shipway.adapters.evaluation_tools.promptfoo import run_promptfoo
from shipway.core.findings import FindingReport
from shipway.evals.tools.ports import ToolName, ToolRequest


@dataclass(frozen=True, slots=True)
class LocalTools:
    """Each tool as a program in its own environment."""

    environments: Environments

    async def install(self, name: ToolName) -> Path:
        """Make a tool's environment anew and return its folder.

        Raises:
            UnavailableError: an installer is missing or fails.
            IntegrityError: what was installed is not what is locked.
        """
        return await self.environments.install(name)

    async def run(self, name: ToolName, request: ToolRequest) -> FindingReport:
        """Run a tool; a time-out or a missing result is a problem of the report.

        Raises:
            NotFoundError: it is not installed.
            UsageError: the source is not what the tool runs.
            UnavailableError: it cannot be started.
        """
        match name:
            case "promptfoo":
                return await run_promptfoo(self.environments, request)
            case "lm-eval":
                return await run_lm_eval(self.environments, request)
            case "deepeval" | "ragas" | "inspect":
                return await run_driver(self.environments, name, request)

"""Run a suite of Great Expectations over the cases of a dataset. Source: Great Expectations 1.24.

Every field of a case is a column; those that a case does not set are null in its row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.process import environment
from shipway.core.errors import DocumentError, UnavailableError
from shipway.core.findings import FindingReport
from shipway.evals.model import Case
from shipway.evals.tools.expectations_results import SUITE, parse, suite_of

NAME = "great-expectations"
_DRIVER = Path(__file__).with_name("expectations_driver.py")


@dataclass(frozen=True, slots=True)
class GreatExpectations:
    """Implements `evals.tools.ports.ExpectationTool`."""

    environments: Environments

    async def install(self) -> Path:
        """Make its environment anew and return the folder.

        Raises:
            UnavailableError: an installer is missing or fails.
        """
        return await self.environments.install(NAME)

    async def validate(self, cases: Sequence[Case], suite: bytes, file: str, timeout_s: float) -> FindingReport:
        """Return what a suite finds; a time-out or a missing result is a problem of the report.

        Raises:
            NotFoundError: Great Expectations is not installed.
            DocumentError: the file is no suite.
            UnavailableError: it cannot be started.
        """
        python = self.environments.python(NAME)
        expectations = suite_of(suite, file)
        with TemporaryDirectory(prefix="shipway-expectations-") as place:
            folder = Path(place)
            out = folder / "expectations.json"
            job = {"expectations": expectations, "out": str(out), **rows_of(cases)}
            await anyio.Path(folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            argv = [str(python), "-P", str(_DRIVER), str(folder / "job.json")]
            try:
                env = environment(self.environments.environ, folder, {})
                ended = await self.environments.start(argv, folder, env, timeout_s)
            except OSError as error:
                raise UnavailableError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
            if ended.code != 0 or not await anyio.Path(out).is_file():
                return FindingReport(SUITE, "", (), (f"Great Expectations {ended.how}",))
            try:
                return parse(await anyio.Path(out).read_bytes(), file)
            except DocumentError as error:
                return FindingReport(SUITE, "", (), (f"Great Expectations: {error.message}",))


def rows_of(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the cases as a table: `columns`, and `rows` with null where a case sets nothing."""
    bodies = [case.to_dict() for case in cases]
    columns = list(dict.fromkeys(name for body in bodies for name in body))
    rows = [[_cell(body.get(name)) for name in columns] for body in bodies]
    return {"columns": columns, "rows": rows}


def _cell(value: Any) -> Any:
    """Return a value that a column can hold: lists and objects as JSON, what is empty as null."""
    if value in ("", (), [], {}):
        return None
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else value

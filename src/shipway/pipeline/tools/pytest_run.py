"""pytest: tests and what they cover. Exit 0 passed, 1 failed, 2 could not collect, 3 defect, 4 wrong call, 5 no test.

Source: pytest's documentation, "Exit codes"; pytest-cov's, `--cov-report`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.cobertura import read_cobertura
from shipway.pipeline.tools.junit_xml import read_junit
from shipway.pipeline.tools.model import SCRATCH, Tool, ToolOutput, UnreadableOutputError

JUNIT = "junit.xml"
COVERAGE = "coverage.xml"
_NO_TEST = 5
_LEAST_COVERED = 20
_FLOOR = re.compile(r"FAIL Required test coverage of \S+ not reached\..*")


@dataclass(frozen=True, slots=True)
class TestCall:
    """Which tests are run, and what is looked at meanwhile."""

    __test__ = False

    paths: Sequence[str] = ()
    arguments: Sequence[str] = ()
    markers: str = ""
    cover: Sequence[str] = ()
    coverage_min: float | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the call."""
        marked = ("-m", self.markers) if self.markers else ()
        covered = tuple(f"--cov={path}" for path in self._covered)
        reports = (f"--cov-report=xml:{SCRATCH}/{COVERAGE}",) if covered else ()
        # xunit1 names file and line of a test, which xunit2 leaves out.
        kept = (f"--junit-xml={SCRATCH}/{JUNIT}", "-o", "junit_family=xunit1")
        return ("pytest", *kept, *covered, *reports, *marked, *self.arguments, *self.paths)

    @property
    def variables(self) -> dict[str, str]:
        """Return what the call needs of its environment."""
        return {"COVERAGE_FILE": f"{SCRATCH}/.coverage"} if self._covered else {}

    @property
    def tool(self) -> Tool:
        """Return pytest as this call wants it read."""
        install = "pip install pytest pytest-cov" if self._covered else "pip install pytest"
        return Tool("pytest", install, self._read, fine=frozenset({0, _NO_TEST}), found=frozenset({1, 2}))

    @property
    def _covered(self) -> tuple[str, ...]:
        return tuple(self.cover) or ((".",) if self.coverage_min is not None else ())

    def _read(self, output: ToolOutput) -> Iterator[Finding]:
        if JUNIT not in output.files:
            raise UnreadableOutputError("it left no JUnit file")
        found = read_junit(output.files[JUNIT])
        yield from found
        if not found or output.code == _NO_TEST:
            yield Finding("pytest", "tests", Verdict.NO_DATA, message="no test was run", rule="tests/none")
        floor = _FLOOR.search(output.stderr)
        if floor:
            yield Finding("pytest", "coverage", Verdict.FAIL, message=floor[0], rule="tests/coverage")
        if self._covered:
            yield from self._coverage(output)

    def _coverage(self, output: ToolOutput) -> Iterator[Finding]:
        if COVERAGE not in output.files:
            said = "there is no coverage file: was anything of the covered paths imported?"
            yield Finding("pytest", "coverage", Verdict.ERROR, message=said, rule="tests/coverage")
            return
        covered = read_cobertura(output.files[COVERAGE])
        least = self.coverage_min
        below = least is not None and covered.lines_percent < least
        yield Finding(
            "pytest",
            "coverage",
            Verdict.FAIL if below else Verdict.PASS,
            "coverage",
            covered.lines_percent,
            f"{covered.lines_percent:g} % of the lines were run, at least {least:g} % must be" if below else "",
            rule="tests/coverage",
        )
        for file, percent in covered.files[: _LEAST_COVERED if below else 0]:
            message = f"{percent:g} % of its lines were run"
            details = {"level": "warning"}
            yield Finding(
                "pytest", file, Verdict.PASS, message=message, location=file, rule="tests/uncovered", details=details
            )


def numbers(output: ToolOutput) -> dict[str, float]:
    """Return what was counted: tests by what came of them, and coverage in percent."""
    found: dict[str, float] = {}
    try:
        tests = read_junit(output.files.get(JUNIT, b"<testsuites/>"))
        found |= {
            "tests": len(tests),
            "failed": sum(test.verdict is Verdict.FAIL for test in tests),
            "errors": sum(test.verdict is Verdict.ERROR for test in tests),
            "skipped": sum(bool(test.details.get("skipped")) for test in tests),
        }
        if COVERAGE in output.files:
            covered = read_cobertura(output.files[COVERAGE])
            found["coverage_percent"] = covered.lines_percent
            if covered.branches_percent is not None:
                found["branch_coverage_percent"] = covered.branches_percent
    except UnreadableOutputError:
        return found
    return found

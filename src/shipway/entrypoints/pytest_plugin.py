"""The pytest plugin: cases of a dataset as tests, and gates inside tests. pytest loads it by its entry point.

Every pytest run of an environment that has shipway loads this file, so it imports pytest and the standard library
alone; `pytest_session` comes when a test uses a fixture or `@shipway.case`. A target that does not answer makes an
error and never a failure; what repeats or gates leave open is told as INCONCLUSIVE.
"""

from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from shipway.testing import MARK, CaseMark, InconclusiveError, NotMeasuredError

if TYPE_CHECKING:
    from shipway.entrypoints.pytest_session import Session, SessionTarget
    from shipway.evals.model import Case, Output

_SESSION: pytest.StashKey["Session"] = pytest.StashKey()
_VERDICT = "shipway_verdict"
_OPEN, _ERROR = "INCONCLUSIVE", "ERROR"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what says who is asked, and how often."""
    group = parser.getgroup("shipway", "evaluation of LLM applications (shipway)")
    group.addoption(
        "--shipway-target",
        metavar="TARGET",
        help="what answers the cases: python:module:function, log:FILE, URL#MODEL, an alias of models, or a release",
    )
    group.addoption(
        "--shipway-repeats", type=int, metavar="N", help="how often each case is asked, whatever the tests say"
    )
    group.addoption("--shipway-judge", metavar="NAME", help="the judge of the project that metrics ask")
    parser.addini("shipway_target", "what answers the cases when --shipway-target is not given", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a number of repeats that asks nobody."""
    repeats = config.getoption("--shipway-repeats")
    if repeats is not None and repeats < 1:
        raise pytest.UsageError(f"--shipway-repeats must be at least 1, got {repeats}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what was opened."""
    if _SESSION in config.stash:
        config.stash[_SESSION].close()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> None:
    """Give a function with `@shipway.case` the fixtures that it need not name."""
    mark = _mark(obj)
    if mark is not None:
        wanted = ("shipway_case", "shipway_answers") if mark.metrics else ("shipway_case",)
        pytest.mark.usefixtures(*wanted)(obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test a case of a function with `@shipway.case`."""
    mark = _mark(metafunc.function)
    if mark is None:
        return
    try:
        cases = _session(metafunc.config).cases(mark, metafunc.definition.path.parent)
    except NotMeasuredError as error:
        raise pytest.Collector.CollectError(f"@shipway.case of {metafunc.function.__name__}: {error}") from error
    metafunc.parametrize("shipway_case", cases, ids=[case.id for case in cases], indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Score the answers by the metrics of `@shipway.case` once the test itself has passed."""
    result = yield
    mark = _mark(pyfuncitem.function)
    if mark is None or not mark.metrics:
        return result
    given: dict[str, Any] = pyfuncitem.funcargs
    verdict, text = _session(pyfuncitem.config).judged(
        given["shipway_case"], given["shipway_answers"], mark.metrics, lambda: _requested(pyfuncitem, "shipway_judge")
    )
    _conclude(verdict, text)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what could not be measured and what stays open from what failed."""
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    if isinstance(error, InconclusiveError):
        path, line, _ = item.location
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"{_OPEN}: {error}")
        _note(item, report, _OPEN)
    elif isinstance(error, NotMeasuredError):
        # What fails outside the test's own call is an error to pytest, and in a JUnit file.
        report.when, report.outcome, report.longrepr = "setup", "failed", f"{_ERROR}: {error}"
        _note(item, report, _ERROR)
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count what stays open by itself; a skipped test would look as if nobody had wanted it."""
    if report.outcome == "skipped" and (_VERDICT, _OPEN) in report.user_properties:
        return "inconclusive", "I", (_OPEN, {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why what stayed open did."""
    for report in terminalreporter.stats.get("inconclusive", ()):
        terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}", yellow=True)


@pytest.fixture(scope="session")
def shipway_target(pytestconfig: pytest.Config) -> "SessionTarget":
    """Return what is asked; write a fixture of this name to test an object of your own.

    Yours may return a function that takes a case, a target, or a text as --shipway-target takes it.
    """
    named = pytestconfig.getoption("--shipway-target") or pytestconfig.getini("shipway_target")
    if not named:
        raise NotMeasuredError(
            "nothing says what is asked: give --shipway-target python:module:function,"
            " set shipway_target in the ini file, or write a fixture shipway_target"
        )
    return _session(pytestconfig).target(named)


@pytest.fixture(scope="session")
def shipway_judge(pytestconfig: pytest.Config) -> Any:
    """Return the judge: `.judge(case, answer, task="rubric", rubric="…")` gives its opinion."""
    return _session(pytestconfig).judge(pytestconfig.getoption("--shipway-judge") or "")


@pytest.fixture
def shipway_case(request: pytest.FixtureRequest) -> "Case":
    """Return the case that the test is run for."""
    if not hasattr(request, "param"):
        raise NotMeasuredError("shipway_case is of tests with @shipway.case; decorate this one")
    found: Case = request.param
    return found


@pytest.fixture
def shipway_answers(request: pytest.FixtureRequest, shipway_case: "Case", shipway_target: object) -> "list[Output]":
    """Return the answers to the case, one a repeat; within a run each is asked for once."""
    mark = _mark(request.function) or CaseMark()
    session = _session(request.config)
    return session.answers(session.target(shipway_target), shipway_case, _repeats(request.config, mark.repeats))


@pytest.fixture
def shipway_gate(request: pytest.FixtureRequest, shipway_target: object) -> Callable[..., Any]:
    """Return what judges a whole dataset: `shipway_gate(metric="correct", min=0.6)`, with the words of `gates`.

    `dataset` is a file or a name of the project, `repeats` how often each case is asked, `baseline` what
    `non_regression` compares with. PASS returns the report.
    """
    session = _session(request.config)

    def gate(*, dataset: str = "", baseline: object = None, repeats: int | None = None, **wanted: object) -> Any:
        targets = [session.target(shipway_target)]
        targets += [] if baseline is None else [session.target(baseline)]
        cases = session.dataset(dataset, request.path.parent)
        report, verdict, text = session.gate(
            targets, cases, wanted, _repeats(request.config, repeats), lambda: request.getfixturevalue("shipway_judge")
        )
        _conclude(verdict, text)
        return report

    return gate


def _conclude(verdict: str, text: str) -> None:
    """End the test as a verdict says; PASS goes on."""
    __tracebackhide__ = True
    match verdict:
        case "PASS":
            return
        case "FAIL":
            pytest.fail(text, pytrace=False)
        case "ERROR":
            raise NotMeasuredError(text)
        case "NOT_APPLICABLE":
            pytest.skip(text)
        case _:
            raise InconclusiveError(text)


def _note(item: pytest.Item, report: pytest.TestReport, verdict: str) -> None:
    """Keep a verdict: on this report for the status, on the item for the JUnit file."""
    report.user_properties.append((_VERDICT, verdict))
    item.user_properties.append((_VERDICT, verdict))


def _session(config: pytest.Config) -> "Session":
    if _SESSION not in config.stash:
        module = import_module("shipway.entrypoints.pytest_session")
        config.stash[_SESSION] = module.Session(Path(config.rootpath))
    return config.stash[_SESSION]


def _mark(function: object) -> CaseMark | None:
    # Whatever a test module holds comes here, such as proxies that raise when they are looked at: functions alone.
    return getattr(function, MARK, None) if type(function) is FunctionType else None


def _repeats(config: pytest.Config, wanted: int | None) -> int:
    given: int | None = config.getoption("--shipway-repeats")
    return given or wanted or 1


def _requested(item: pytest.Function, name: str) -> Any:
    return item._request.getfixturevalue(name)  # noqa: SLF001 - what pytest itself fills an item's fixtures with

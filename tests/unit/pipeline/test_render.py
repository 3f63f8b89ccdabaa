"""A run as people read it."""

import pytest

from shipway.core.verdicts import Verdict
from shipway.pipeline.model import RunReport, StageEvent, StageResult, StageState
from shipway.pipeline.render import duration, one_sentence, progress_line, summary_lines

RUN = RunReport(
    "01RUN",
    0.0,
    75.2,
    (
        StageResult("unit-tests", StageState.PASSED, Verdict.PASS, 0, 3.04, 1, outputs={"coverage": 0.91, "who": "me"}),
        StageResult("lint", StageState.FAILED, Verdict.FAIL, 1, 0.5, 2, allowed=True, problem="exit code 1"),
        StageResult(
            "gate",
            StageState.FAILED,
            Verdict.ERROR,
            3,
            71.0,
            1,
            output_tail="first\n\x1b[31mlast\x1b[0m\n",
            problem="exit code 3",
        ),
        StageResult("deploy", StageState.SKIPPED, problem="needs gate, which failed"),
    ),
)


def test_the_summary_shows_each_stage_what_the_failed_one_printed_and_the_verdict() -> None:
    assert summary_lines(RUN) == [
        "stage       state    verdict  time      attempts  note",
        "----------  -------  -------  --------  --------  ------------------------",
        "unit-tests  passed   PASS     3.0 s     1         coverage 0.91",
        "lint        failed   FAIL     0.5 s     2         allowed: exit code 1",
        "gate        failed   ERROR    1 m 11 s  1         exit code 3",
        "deploy      skipped  -        -         -         needs gate, which failed",
        "",
        "--- gate: the last 2 lines it printed",
        "first",
        "\ufffd[31mlast\ufffd[0m",
        "",
        "run 01RUN: ERROR in 1 m 15 s (1 passed, 2 failed, 1 skipped)",
    ]


def test_of_a_long_output_only_the_end_is_shown() -> None:
    printed = "".join(f"line {number}\n" for number in range(100))
    report = RunReport("r", 0, 1, (StageResult("a", StageState.FAILED, Verdict.FAIL, 1, 1, 1, output_tail=printed),))
    lines = summary_lines(report)
    assert "line 99" in lines
    assert "line 79" not in lines


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (StageEvent("a", StageState.RUNNING, 1), "running    a"),
        (StageEvent("a", StageState.RUNNING, 2, problem="exit\tcode 1"), "running    a (attempt 2: exit code 1)"),
        (
            StageEvent("a", StageState.PASSED, 1, StageResult("a", StageState.PASSED, Verdict.PASS, 0, 1.0, 1)),
            "passed     a  1.0 s",
        ),
        (
            StageEvent("a", StageState.SKIPPED, 0, StageResult("a", StageState.SKIPPED, problem="needs b")),
            "skipped    a  needs b",
        ),
    ],
)
def test_a_change_of_state_is_one_line(event: StageEvent, line: str) -> None:
    assert progress_line(event) == line


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        ("it is not running\n  start it with `shipway up`", "it is not running; start it with `shipway up`"),
        ("two are wrong:\n  a\n\n  b\n", "two are wrong: a; b"),
        ("it ended.\nLook at the log", "it ended. Look at the log"),
        ("one", "one"),
        ("\n", ""),
    ],
)
def test_what_failed_and_what_to_do_next_stay_apart_on_one_line(problem: str, line: str) -> None:
    assert one_sentence(problem) == line
    failed = StageResult("a", StageState.FAILED, Verdict.ERROR, None, 0.0, 1, problem=problem)
    assert summary_lines(RunReport("r", 0.0, 1.0, (failed,)))[2].endswith(f"1         {line}".rstrip())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 m 00 s"), (60, "1 m 00 s"), (3599.9, "59 m 59 s"), (3720, "1 h 02 m")],
)
def test_a_time_is_written_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_a_person_should_know_of_a_stage_that_passed_stands_before_the_verdict() -> None:
    noted = StageResult("a", StageState.PASSED, Verdict.PASS, 0, 1.0, 1, notes=("inputs: 'scr' matches no file",))
    lines = summary_lines(RunReport("01RUN", 0.0, 1.0, (noted,)))
    assert lines[-4:-1] == ["", "a: inputs: 'scr' matches no file", ""]

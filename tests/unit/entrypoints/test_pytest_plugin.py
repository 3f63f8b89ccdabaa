"""The pytest plugin in pytest runs of its own."""

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

# Loaded before the runs below, which forget what they load first.
import shipway.entrypoints.pytest_session

assert shipway.entrypoints.pytest_session

pytest_plugins = ["pytester"]

PLUGIN = "shipway.entrypoints.pytest_plugin"
# An installed package brings its entry point; pytest refuses the same plugin twice.
LOADED = [] if any(point.value == PLUGIN for point in entry_points(group="pytest11")) else ["-p", PLUGIN]
BOT = """
calls = []

def good(case):
    calls.append(case.id)
    return f"it is {case.must_contain[0]}" if case.must_contain else "I do not know"

def bad(case):
    return "no idea"

def even(case):
    return good(case) if int(case.id[1:]) % 2 == 0 else bad(case)

def unsteady(case):
    calls.append(case.id)
    return good(case) if len(calls) % 4 < 2 else bad(case)

def down(case):
    raise ConnectionError("nobody there")
"""
CASE_TEST = """
import shipway

@shipway.case(dataset="cases.jsonl", metrics="correct"{more})
def test_case(shipway_case):
    assert shipway_case.question
"""


def case_row(number, **more):
    return {"id": f"c{number}", "question": f"Q{number}?", "must_contain": [f"word{number}"], **more}


@pytest.fixture
def run(pytester):
    """Run a test file against a target."""
    pytester.makepyfile(bot=BOT)

    def write(rows):
        pytester.path.joinpath("cases.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")

    def act(text, *options, rows=None, target="python:bot:good"):
        write(rows or [case_row(number) for number in range(4)])
        pytester.makepyfile(test_it=text)
        pytester.syspathinsert()
        given = [] if target is None else ["--shipway-target", target]
        return pytester.runpytest_inprocess(*LOADED, "-p", "no:randomly", "-p", "no:cacheprovider", *given, *options)

    return act


def case_test(more=""):
    return CASE_TEST.format(more=more)


def test_loading_it_imports_pytest_and_the_standard_library_alone():
    script = (
        "import sys, pytest, _pytest.config.argparsing\nbefore = {n.split('.')[0] for n in sys.modules}\n"
        f"import {PLUGIN}\nprint(*sorted({{n.split('.')[0] for n in sys.modules}} - before))\n"
        "print(*sorted(n for n in sys.modules if n.startswith('shipway')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    packages, ours = (set(line.split()) for line in done.stdout.splitlines())

    assert packages - set(sys.stdlib_module_names) == {"shipway"}
    assert ours == {"shipway", "shipway.testing", "shipway.entrypoints", PLUGIN}


def test_a_run_that_does_not_use_it_loads_nothing_more(pytester):
    pytester.makepyfile(
        "import sys\n\ndef test_nothing():\n    assert 'shipway.entrypoints.pytest_session' not in sys.modules"
    )

    done = pytester.runpytest_subprocess(*LOADED, "-p", "no:randomly")

    done.assert_outcomes(passed=1)


def test_objects_that_raise_when_they_are_looked_at_are_left_alone(run):
    text = """
class Proxy:
    def __getattribute__(self, name):
        raise RuntimeError("outside of a request")

request = Proxy()
""" + case_test()

    run(text).assert_outcomes(passed=4)


def test_it_goes_with_parametrize_classes_and_loops(run):
    text = """
import pytest, shipway

class TestBot:
    @shipway.case(dataset="cases.jsonl", metrics="correct")
    @pytest.mark.parametrize("tone", ["kind", "brief"])
    def test_tone(self, tone, shipway_case):
        assert tone

    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @shipway.case(dataset="cases.jsonl", id="c0")
    async def test_waiting(self, shipway_answers):
        assert shipway_answers[0].answer == "it is word0"
"""
    run(text).assert_outcomes(passed=9)


def test_a_test_is_run_once_a_case_by_its_id(run):
    done = run(case_test(), "-v")

    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(["*test_case[[]c0[]] PASSED*", "*test_case[[]c3[]] PASSED*"])


def test_wrong_answers_fail_with_question_expectation_and_answer(run):
    done = run(case_test(), target="python:bot:even")

    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(
        [
            "c1: correct is right in 0 of 1 answers (needs at least 1, got 0)",
            "  question: Q1?",
            "  expected: contains word1",
            "  answer: no idea",
        ]
    )


def test_a_case_that_is_right_in_some_repeats_is_inconclusive_and_neither_passed_nor_failed(run):
    done = run(case_test(", repeats=4"), target="python:bot:unsteady")

    assert done.ret == 0
    assert done.parseoutcomes() == {"inconclusive": 4}
    done.stdout.fnmatch_lines(["test_it.py::test_case[[]c0[]]: INCONCLUSIVE: c0: correct is right in * of 4 answers*"])


def test_a_target_that_does_not_answer_is_an_error_and_no_failure(run):
    done = run(case_test(), "--junit-xml=out.xml", target="python:bot:down")

    assert done.parseoutcomes() == {"errors": 4}
    done.stdout.fnmatch_lines(["*python:bot:down does not answer case 'c0': bot:down raised ConnectionError: nobody*"])


def test_a_body_that_fails_is_a_failure_and_nothing_is_scored(run):
    done = run(case_test().replace("assert shipway_case.question", "assert False"))

    done.assert_outcomes(failed=4)


def test_a_junit_file_tells_failures_from_errors_and_from_what_stays_open(run, pytester):
    text = """
import pytest, shipway
from shipway.testing import InconclusiveError, NotMeasuredError

def test_open():
    raise InconclusiveError("3 more cases")

def test_error():
    raise NotMeasuredError("nobody there")

def test_failure():
    assert False
"""
    done = run(text, "--junit-xml=out.xml", "-o", "junit_family=xunit1")

    assert done.parseoutcomes() == {"inconclusive": 1, "errors": 1, "failed": 1}
    cases = {case.get("name"): case for case in ET.parse(pytester.path / "out.xml").iter("testcase")}  # noqa: S314
    assert [child.tag for child in cases["test_error"] if child.tag != "properties"] == ["error"]
    assert [child.tag for child in cases["test_failure"]] == ["failure"]
    assert cases["test_open"].find("skipped").get("message") == "INCONCLUSIVE: 3 more cases"
    assert cases["test_open"].find("properties/property").get("value") == "INCONCLUSIVE"


def test_each_case_is_asked_once_a_repeat_whoever_wants_the_answer(run):
    text = """
import bot, shipway

@shipway.case(dataset="cases.jsonl", metrics="correct", repeats=2)
def test_first(shipway_answers):
    assert len(shipway_answers) == 2

@shipway.case(dataset="cases.jsonl")
def test_second(shipway_answers):
    assert shipway_answers[0].answer

def test_gate(shipway_gate):
    shipway_gate(dataset="cases.jsonl", metric="correct", min=0.1, repeats=2)
    assert sorted(bot.calls) == ["c0", "c0", "c1", "c1", "c2", "c2", "c3", "c3"]
"""
    run(text).assert_outcomes(passed=9)


def test_the_command_line_says_how_often(run):
    text = (
        case_test(", repeats=2")
        .replace("(shipway_case)", "(shipway_case, shipway_answers)")
        .replace("assert shipway_case.question", "assert len(shipway_answers) == 5")
    )

    run(text, "--shipway-repeats", "5").assert_outcomes(passed=4)
    refused = run(text, "--shipway-repeats", "0")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--shipway-repeats must be at least 1, got 0"])


def test_single_cases_are_named_by_their_id(run):
    run(case_test(', id=["c1", "c3"]')).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (', id="c9"', "dataset 'cases' has no case 'c9'; known: c0, c1, c2, c3"),
        ("", "no dataset 'case.jsonl' in *, and there is no project"),
    ],
)
def test_cases_that_are_not_there_are_told_when_tests_are_collected(run, more, said):
    done = run(case_test(more).replace("cases.jsonl", "cases.jsonl" if more else "case.jsonl"))

    assert done.parseoutcomes() == {"errors": 1}
    done.stdout.fnmatch_lines([f"@shipway.case of test_case: {said}"])
    assert "Traceback" not in done.stdout.str()


def test_a_dataset_that_is_malformed_is_told_with_its_line(run):
    done = run(case_test(), rows=[case_row(1), {"id": "c2"}])

    done.stdout.fnmatch_lines(["@shipway.case of test_case: *cases.jsonl:2: question: *"])


def test_calibration_cases_are_no_tests_unless_they_are_named(run):
    rows = [case_row(0), case_row(1, split="calibration")]

    run(case_test(), rows=rows).assert_outcomes(passed=1)
    run(case_test(', id="c1"'), rows=rows).assert_outcomes(passed=1)


def test_a_case_to_which_the_metric_does_not_apply_is_skipped(run):
    done = run(case_test(), "-rs", rows=[case_row(0), {"id": "c1", "question": "Q?", "unanswerable": True}])

    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["*c1: correct does not apply*"])


def test_a_metric_that_is_not_0_or_1_needs_a_limit(run):
    text = case_test().replace('"correct"', '"latency_ms"')
    done = run(text)

    assert done.parseoutcomes() == {"errors": 4}
    done.stdout.fnmatch_lines(["*metric latency_ms is not 0 or 1, so say from where on it is right", "*0.8}*"])
    run(text.replace('"latency_ms"', '{"latency_ms": 60000}')).assert_outcomes(passed=4)


def test_an_unknown_metric_is_an_error_that_names_the_nearest(run):
    done = run(case_test().replace('"correct"', '"corect"'))

    assert done.parseoutcomes() == {"errors": 4}
    done.stdout.fnmatch_lines(["*unknown metric 'corect'; did you mean 'correct'?*"])


GATE = """
def test_gate(shipway_gate):
    report = shipway_gate(dataset="cases.jsonl", metric="correct", {limit})
    assert report.rows[0].n == 40
"""
FORTY = [case_row(number) for number in range(40)]


@pytest.mark.parametrize(
    ("target", "limit", "outcome"),
    [
        ("good", "min=0.8", "passed"),
        ("bad", "min=0.8", "failed"),
        ("even", "min=0.4", "inconclusive"),
        ("down", "min=0.8", "errors"),
        ("good", "min=0.99", "errors"),
        ("good", 'non_regression="auto", baseline="python:bot:bad"', "passed"),
        ("bad", 'non_regression="auto", baseline="python:bot:good"', "failed"),
        ("good", 'non_regression="auto"', "errors"),
        ("good", 'non_regression="auto", baseline="python:bot:good"', "passed"),
    ],
)
def test_a_gate_ends_a_test_by_its_verdict(run, target, limit, outcome):
    done = run(GATE.format(limit=limit), rows=FORTY, target=f"python:bot:{target}")

    assert done.parseoutcomes() == {outcome: 1}


def test_a_gate_that_can_never_pass_says_what_it_needs(run):
    done = run(GATE.format(limit="min=0.99"), rows=FORTY)

    done.stdout.fnmatch_lines(["*40 cases, all of them right, show at least *, which is not 0.99: it can never pass*"])


def test_a_gate_that_stays_open_says_what_would_decide(run):
    done = run(GATE.format(limit="min=0.4"), rows=FORTY, target="python:bot:even")

    done.stdout.fnmatch_lines(["test_it.py::test_gate: INCONCLUSIVE: *", "*about * cases would decide at this score*"])


def test_a_fixture_of_the_users_own_says_what_is_asked(run):
    text = """
import pytest, shipway

class Bot:
    name, digest = "bot", "sha256:0"

    async def ask(self, case, *, repeat):
        from shipway.evals.model import Output
        return Output(answer=case.must_contain[0])

@pytest.fixture(scope="session", params=["function", "target", "text"])
def shipway_target(request):
    return {"function": lambda case: case.must_contain[0], "target": Bot(), "text": "python:bot:good"}[request.param]

@shipway.case(dataset="cases.jsonl", metrics="correct")
def test_case():
    pass
"""
    run(text, target=None).assert_outcomes(passed=12)


def test_a_test_may_ask_what_it_likes(run):
    text = """
import pytest
from shipway.testing import NotMeasuredError

def test_free(shipway_target, shipway_gate):
    assert shipway_target.name == "python:bot:bad"
    assert shipway_target.ask("How long?").answer == "no idea"
"""
    run(text, target="python:bot:bad").assert_outcomes(passed=1)


def test_without_a_target_the_error_says_how_to_name_one(run):
    done = run(case_test(), target=None)

    assert done.parseoutcomes() == {"errors": 4}
    done.stdout.fnmatch_lines(["*nothing says what is asked: give --shipway-target python:module:function,*"])


def test_the_ini_file_may_name_the_target(run, pytester):
    pytester.makeini("[pytest]\nshipway_target = python:bot:good")

    run(case_test(), target=None).assert_outcomes(passed=4)


def test_a_target_that_is_not_there_is_an_error_with_a_hint(run):
    done = run(case_test(), target="python:bot:goood")

    done.stdout.fnmatch_lines(["*function 'bot:goood' is not there*", "*did you mean 'good'?*"])
    done = run(case_test(), target="small")
    done.stdout.fnmatch_lines(["*target 'small' needs a project, and there is no shipway.yaml in*"])


def test_recorded_answers_are_a_target(run, pytester):
    lines = [
        json.dumps({"case": f"c{number}", "repeat": 0, "output": {"answer": f"word{number}"}}) for number in range(4)
    ]
    pytester.path.joinpath("answers.jsonl").write_text("\n".join(lines), encoding="utf-8")

    run(case_test(), target="log:answers.jsonl").assert_outcomes(passed=4)


JUDGED = """
import pytest, shipway
from shipway.core.errors import JudgeReplyError
from shipway.evals.judgement import Judgement, JudgeIdentity

class Judge:
    identity = JudgeIdentity("strict", "sha256:0")

    async def judge(self, request, *, repeat):
        if request.case.id == "c3":
            raise JudgeReplyError("the reply is no JSON")
        return Judgement(request.task, 1.0 if request.case.id == "c0" else 0.0)

@pytest.fixture(scope="session")
def shipway_judge():
    return Judge()

@shipway.case(dataset="cases.jsonl", metrics={"completeness": 0.5})
def test_case():
    pass
"""


def test_a_judge_of_the_users_own_scores_and_its_silence_is_an_error(run):
    done = run(JUDGED, rows=[case_row(number, reference="yes") for number in range(4)])

    assert done.parseoutcomes() == {"passed": 1, "failed": 2, "errors": 1}
    done.stdout.fnmatch_lines(["*c3: completeness is missing for 1 of 1: *the reply is no JSON*"])


def test_without_a_project_there_is_no_judge_to_ask(run):
    done = run(
        case_test().replace('"correct"', '{"completeness": 0.5}'),
        rows=[case_row(0, reference="yes")],
    )

    assert done.parseoutcomes() == {"errors": 1}
    done.stdout.fnmatch_lines(["*a judge needs a project, and there is no shipway.yaml in*"])


def test_a_test_without_the_decorator_has_no_case(run):
    done = run("def test_it(shipway_case):\n    pass")

    assert done.parseoutcomes() == {"errors": 1}
    done.stdout.fnmatch_lines(["*shipway_case is of tests with @shipway.case; decorate this one*"])


def test_the_projects_own_dataset_is_asked_when_none_is_named(run, pytester):
    pytester.path.joinpath("shipway.yaml").write_text(
        "app: small\nmodels: { echo: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: echo } }\n"
        "evals: { dataset: cases.jsonl, split: all }\n",
        encoding="utf-8",
    )

    run(case_test().replace('dataset="cases.jsonl", ', "")).assert_outcomes(passed=4)
    assert not (pytester.path / ".shipway").exists()


def test_the_programs_of_the_how_to_run(pytester):
    page = Path(__file__).parents[3] / "docs/how-to/use-pytest.md"
    cases, gates, fixture = re.findall(
        r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    pytester.mkdir("evals").joinpath("cases.jsonl").write_text("\n".join(json.dumps(row) for row in FORTY))
    pytester.path.joinpath("shipway.yaml").write_text(
        "app: small\nmodels: { echo: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: echo } }\n"
        "evals: { dataset: evals/cases.jsonl, split: all }\n"
    )
    pytester.mkdir("app").joinpath("bot.py").write_text(
        BOT.replace("def good", "def answer") + "\nanswer_before = answer\n"
    )
    pytester.makepyfile(test_cases=cases, test_gates=gates)
    pytester.mkdir("own").joinpath("test_own.py").write_text(
        fixture + "\n\n" + case_test().replace("cases.jsonl", "evals/cases.jsonl")
    )
    options = (*LOADED, "-p", "no:randomly", "-p", "no:cacheprovider", "--shipway-target", "python:app.bot:answer")

    assert pytester.runpytest_inprocess(*options, "test_cases.py", "test_gates.py").parseoutcomes() == {"passed": 42}
    # It says what was asked, which is right in none.
    assert pytester.runpytest_inprocess(*options, "own").parseoutcomes() == {"failed": 40}

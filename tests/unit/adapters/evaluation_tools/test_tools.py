"""What the adapters make of programs that end in any way; the programs are fakes, the files are real."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from shipway.adapters.evaluation_tools.environments import Environments, _digest
from shipway.adapters.evaluation_tools.expectations import NAME, GreatExpectations, rows_of
from shipway.adapters.evaluation_tools.process import Ended
from shipway.adapters.evaluation_tools.tools import LocalTools
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.model import Case
from shipway.evals.tools.ports import TOOLS, Endpoint, ToolRequest

pytestmark = pytest.mark.anyio
RECORDED = Path(__file__).parents[2] / "evals" / "tools" / "data"
CASES = (Case("period", "How long?", context=("30 days.",)), Case("cost", "Who pays?", reference="You"))


@dataclass
class Program:
    """A program that leaves files and ends; notes how it was started."""

    code: int | None = 0
    leaves: Callable[[list[str]], None] = lambda _argv: None
    started: list[tuple[list[str], Path, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, argv, folder, env, timeout_s):
        self.started.append((list(argv), Path(folder), dict(env)))
        self.leaves(list(argv))
        return Ended(self.code, "the last line", timeout_s)


@pytest.fixture
def request_of(tmp_path):
    def made(source: str, text: str = "", **more: Any) -> ToolRequest:
        path = tmp_path / source
        path.write_text(text)
        (tmp_path / "out").mkdir(exist_ok=True)
        return ToolRequest(
            source=path,
            target=Endpoint("http://10.0.0.1:8000/v1", "small", api_key="sk-target"),
            judge=Endpoint("http://127.0.0.1:9/v1", "large", api_key="sk-judge"),
            folder=tmp_path / "out",
            **more,
        )

    return made


@pytest.fixture
def tools(tmp_path):
    """Return tools whose environments are there and whose programs are a fake."""

    def made(program: Program) -> LocalTools:
        for name in (*TOOLS, NAME):
            (tmp_path / "tools" / name).mkdir(parents=True)
            (tmp_path / "tools" / name / ".shipway-lock").write_text(_digest(name))
        return LocalTools(Environments(tmp_path / "tools", {"PATH": "/bin", "OPENAI_API_KEY": "sk-user"}, program))

    return made


def option(argv, name):
    return argv[argv.index(name) + 1]


PROMPTFOO = "tests: [{vars: {question: a}}]"


@pytest.mark.parametrize("code", [0, 100])
async def test_promptfoos_file_decides_and_not_its_exit_code(tools, request_of, code):
    def leaves(argv):
        Path(option(argv, "-o")).write_bytes((RECORDED / "promptfoo-half.json").read_bytes())

    program = Program(code, leaves)
    report = await tools(program).run("promptfoo", request_of("c.yaml", PROMPTFOO, repeats=3))

    assert report.problems == ()
    assert sorted(item.verdict.value for item in report.findings if not item.metric) == ["ERROR", "FAIL", "PASS"]
    ((argv, folder, env),) = program.started
    assert (option(argv, "--repeat"), folder) == ("3", request_of("c.yaml", PROMPTFOO).source.parent)
    assert (env["SHIPWAY_TARGET_KEY"], env["SHIPWAY_JUDGE_KEY"]) == ("sk-target", "sk-judge")
    assert "sk-user" not in env.values()
    assert "sk-" not in " ".join(argv)


async def test_another_exit_code_is_a_problem_though_there_is_a_file(tools, request_of):
    def leaves(argv):
        Path(option(argv, "-o")).write_bytes((RECORDED / "promptfoo-run.json").read_bytes())

    report = await tools(Program(1, leaves)).run("promptfoo", request_of("c.yaml", PROMPTFOO))

    assert report.verdict is Verdict.ERROR
    assert report.problems == ("promptfoo ended with exit code 1; its last words:\nthe last line",)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("promptfoo", ("c.yaml", PROMPTFOO)),
        ("lm-eval", ("t.yaml", "task: t")),
        ("deepeval", ("c.jsonl",)),
        ("deepeval", ("test_c.py",)),
        ("ragas", ("c.jsonl",)),
        ("inspect", ("c.jsonl",)),
        ("inspect", ("c.py",)),
    ],
)
@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "left no result file"), (-11, "was ended by signal 11"), (None, "did not end within 600 s and was stopped")],
)
async def test_a_program_that_leaves_no_file_is_an_error_with_its_last_words(
    tools, request_of, name, source, code, said
):
    report = await tools(Program(code)).run(name, request_of(*source, cases=CASES))

    assert report.verdict is Verdict.ERROR
    assert said in report.problems[0]
    assert "the last line" in report.problems[0]


async def test_a_file_that_was_cut_off_is_an_error_with_the_reason(tools, request_of):
    def leaves(argv):
        Path(option(argv, "-o")).write_bytes((RECORDED / "promptfoo-run.json").read_bytes()[:999])

    report = await tools(Program(0, leaves)).run("promptfoo", request_of("c.yaml", PROMPTFOO))
    assert report.problems[0].startswith("promptfoo: promptfoo.json: is not JSON")


async def test_a_case_that_a_tool_skipped_is_an_error_with_the_targets_words(tools, request_of):
    def leaves(argv):
        job = json.loads(Path(argv[-1]).read_text())
        assert [case["id"] for case in job["cases"]] == ["period", "cost"]
        assert "sk-" not in json.dumps(job)
        rows = [
            {"case": "period", "repeat": 0, "answer": "a", "error": ""},
            {"case": "cost", "repeat": 0, "answer": "", "error": "APITimeoutError: late"},
        ]
        (Path(job["out"]) / "answers.json").write_text(json.dumps(rows))
        judged = [{"case": "period", "repeat": 0, "question": "How long?", "scores": {"faithfulness": 1}, "errors": {}}]
        found = {"tool": "ragas", "schema": 1, "version": "0.4.3", "rows": judged}
        (Path(job["out"]) / "ragas.json").write_text(json.dumps(found))

    report = await tools(Program(0, leaves)).run("ragas", request_of("c.jsonl", cases=CASES, metrics=("Faithfulness",)))

    assert report.problems == ()
    assert [(item.case_id, item.verdict.value, item.message) for item in report.findings] == [
        ("period", "PASS", ""),
        ("cost", "ERROR", "APITimeoutError: late"),
    ]


async def test_a_target_that_answered_nothing_leaves_an_error_for_each_case(tools, request_of):
    def leaves(argv):
        job = json.loads(Path(argv[-1]).read_text())
        rows = [{"case": case["id"], "repeat": 0, "answer": "", "error": "down"} for case in job["cases"]]
        (Path(job["out"]) / "answers.json").write_text(json.dumps(rows))

    report = await tools(Program(0, leaves)).run("deepeval", request_of("c.jsonl", cases=CASES))

    assert report.problems == ()
    assert [(item.case_id, item.message) for item in report.findings] == [("cost", "down"), ("period", "down")]


async def test_each_repeat_of_lm_eval_is_a_run_with_its_own_seed(tools, request_of):
    def leaves(argv):
        out = Path(option(argv, "--output_path")) / "small"
        out.mkdir(parents=True)
        for file in RECORDED.glob("*2026-11-21T13-33-33.456448*"):
            (out / file.name).write_bytes(file.read_bytes())

    program = Program(0, leaves)
    report = await tools(program).run("lm-eval", request_of("t.yaml", "task: returns", repeats=2))

    assert sorted((item.case_id, item.repeat) for item in report.findings) == [
        (name, repeat) for name in ("cost", "period", "trains") for repeat in (0, 1)
    ]
    settings = [option(argv, "--model_args") for argv, _, _ in program.started]
    assert ["seed=1234" in settings[0], "seed=1235" in settings[1]] == [True, True]
    assert all("base_url=http://10.0.0.1:8000/v1/chat/completions" in item for item in settings)


async def test_the_time_of_lm_eval_is_for_all_repeats_together(tools, request_of):
    async def hanging(*_):
        await anyio.sleep_forever()

    environments = tools(Program()).environments
    slow = LocalTools(Environments(environments.root, {}, hanging))
    report = await slow.run("lm-eval", request_of("t.yaml", "task: returns", repeats=2, timeout_s=0.01))

    assert report.verdict is Verdict.ERROR
    assert "lm-eval did not end within 0.01 s and was stopped" in report.problems[0]


@pytest.mark.parametrize(
    ("name", "source", "more", "said"),
    [
        ("ragas", "c.jsonl", {}, "has no case"),
        ("ragas", "c.py", {}, "has no file of its own to run"),
        ("deepeval", "c.jsonl", {"cases": CASES, "metrics": ("os.system",)}, "is no name of deepeval"),
        ("inspect", "c.jsonl", {"cases": CASES, "metrics": ("__doc__",)}, "is no name of inspect"),
    ],
)
async def test_what_a_tool_cannot_run_is_refused(tools, request_of, name, source, more, said):
    with pytest.raises(UsageError, match=said):
        await tools(Program()).run(name, request_of(source, **more))


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_that_is_not_installed_says_how_to(tmp_path, request_of, name):
    tools = LocalTools(Environments(tmp_path / "none", {}, Program()))

    with pytest.raises(NotFoundError) as caught:
        await tools.run(name, request_of("c.yaml", PROMPTFOO + "\ntask: t", cases=CASES))
    assert caught.value.hint == f"run `shipway eval tool install {name}`"


async def test_great_expectations_gets_cases_as_rows_and_its_end_is_reported(tools):
    seen = []

    def leaves(argv):
        job = json.loads(Path(argv[-1]).read_text())
        seen.append(job)
        Path(job["out"]).write_bytes((RECORDED / "expectations.json").read_bytes())

    environments = tools(Program(0, leaves)).environments
    suite = b'{"expectations": [{"type": "expect_a", "kwargs": {}}]}'
    report = await GreatExpectations(environments).validate(CASES, suite, "s.json", 60.0)
    assert report.problems == ()
    assert seen[0]["expectations"] == [{"type": "expect_a", "kwargs": {}, "severity": "critical"}]

    late = Environments(environments.root, {}, Program(None))
    report = await GreatExpectations(late).validate(CASES, suite, "s.json", 60.0)
    assert report.problems == (
        "Great Expectations did not end within 60 s and was stopped; its last words:\nthe last line",
    )


def test_what_a_case_does_not_set_is_null_in_its_row():
    table = rows_of(CASES)

    first, second = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    assert (first["id"], first["reference"], first["context"]) == ("period", None, '["30 days."]')
    assert (second["reference"], second["context"], second["tags"]) == ("You", None, None)

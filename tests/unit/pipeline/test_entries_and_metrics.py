"""Functions as stages, numbers from files, versions of tools: with real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.runner import LocalStageRunner
from shipway.adapters.local_stage.tools import LocalToolbox
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import Resources, StageSpec

pytestmark = pytest.mark.anyio
ENVIRON = {"PATH": os.environ["PATH"]}
MODULE = """
def fine(names, scale=1):
    return {"count": len(names) * scale}
async def later():
    return {"ok": True}
def failing():
    assert 1 == 2, "not equal"
def no():
    return False
def broken():
    raise RuntimeError("boom")
def wrong():
    return [1]
"""


async def outcome(root: Path, spec: StageSpec, attempt: int = 1, **settings: object) -> tuple[StageOutcome, str]:
    context = StageContext("run", attempt, {}, **settings)  # type: ignore[arg-type]
    async with LocalStageRunner(root, ENVIRON) as runner:
        with anyio.fail_after(60):
            return await runner.run(spec, context), context.output.text()


@pytest.mark.parametrize(
    ("function", "verdict", "outputs"),
    [
        ("later", Verdict.PASS, {"ok": True}),
        ("failing", Verdict.FAIL, {}),
        ("no", Verdict.FAIL, {}),
        ("broken", Verdict.ERROR, {}),
        ("wrong", Verdict.ERROR, {}),
        ("missing", Verdict.ERROR, {}),
    ],
)
async def test_what_a_function_returns_or_raises_is_its_verdict(
    tmp_path: Path, function: str, verdict: Verdict, outputs: dict[str, object]
) -> None:
    (tmp_path / "checks.py").write_text(MODULE)
    found, _ = await outcome(tmp_path, StageSpec("a", entry=f"checks:{function}"))
    assert (found.verdict, found.outputs) == (verdict, outputs)


@pytest.mark.parametrize("code", [0, 1])
async def test_a_function_that_ends_its_process_has_neither_passed_nor_failed(tmp_path: Path, code: int) -> None:
    (tmp_path / "checks.py").write_text(f"import os\ndef gone():\n    os._exit({code})\n")
    found, _ = await outcome(tmp_path, StageSpec("a", entry="checks:gone"))
    assert (found.verdict, found.exit_code) == (Verdict.ERROR, code)
    said = "but checks:gone has not returned: it ended its process itself"
    assert found.problem.startswith(f"exit code {code}, {said}")


@pytest.mark.parametrize(
    ("code", "verdict"), [("0", Verdict.PASS), ("", Verdict.PASS), ("1", Verdict.FAIL), ("'no'", Verdict.FAIL)]
)
async def test_a_function_may_leave_with_an_exit_code(tmp_path: Path, code: str, verdict: Verdict) -> None:
    (tmp_path / "checks.py").write_text(f"import sys\ndef leave():\n    sys.exit({code})\n")
    found, log = await outcome(tmp_path, StageSpec("a", entry="checks:leave"))
    assert (found.verdict, log) == (verdict, "no\n" if "no" in code else "")


async def test_a_function_gets_its_arguments_by_name(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(MODULE)
    found, _ = await outcome(tmp_path, StageSpec("a", entry="checks:fine", with_={"names": ["x", "y"], "scale": 3}))
    assert found.outputs == {"count": 6}


async def test_the_traceback_of_a_function_is_in_its_log(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(MODULE)
    _, log = await outcome(tmp_path, StageSpec("a", entry="checks:broken"))
    assert "RuntimeError: boom" in log


def writer(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", f"open('m.json', 'w').write({text!r})")


async def test_numbers_of_the_metrics_file_become_results(tmp_path: Path) -> None:
    spec = StageSpec("a", run=writer('{"rag": {"recall": 0.9}}'), metrics="m.json")
    found, _ = await outcome(tmp_path, spec)
    assert (found.verdict, found.outputs) == (Verdict.PASS, {"rag.recall": 0.9})


async def test_a_metrics_file_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    found, _ = await outcome(tmp_path, StageSpec("a", run=("true",), metrics="m.json"))
    assert (found.verdict, found.problem) == (Verdict.ERROR, "passed, but did not write its metrics file m.json")


async def test_the_numbers_of_an_earlier_run_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"recall": 0.99}')
    found, _ = await outcome(tmp_path, StageSpec("a", run=("true",), metrics="m.json"))
    assert found.verdict is Verdict.ERROR
    assert found.problem == "passed, but left its metrics file m.json as it was before"


async def test_a_stage_sees_its_part_and_its_graphics_processors(tmp_path: Path) -> None:
    spec = StageSpec("a", run=("sh", "-c", "echo $SHIPWAY_SHARD $CUDA_VISIBLE_DEVICES"), resources=Resources(gpus=2))
    _, log = await outcome(tmp_path, spec, gpus=(1, 3), shard="2/4")
    assert log == "2/4 1,3\n"


async def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sh").write_text("")
    found, _ = await outcome(tmp_path, StageSpec("a", run=("./x.sh",)))
    assert found.problem == "cannot start './x.sh': Permission denied"


async def test_a_command_has_no_input_and_no_file_of_the_pipeline_open(tmp_path: Path) -> None:
    code = "import os; print(os.readlink('/proc/self/fd/0'), len(os.listdir('/proc/self/fd')))"
    _, log = await outcome(tmp_path, StageSpec("a", run=(sys.executable, "-S", "-c", code)))
    # Input, output, errors, and the listing itself.
    assert log == "/dev/null 4\n"


def tool(root: Path, text: str) -> None:
    path = root / "bin" / "tool"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def toolbox(root: Path) -> LocalToolbox:
    return LocalToolbox(
        root, {"PATH": f"{root}/bin:{os.environ['PATH']}"}, "1.0", lambda path: f"digest of {path.name}"
    )


async def test_tools_are_asked_for_their_version(tmp_path: Path) -> None:
    tool(tmp_path, 'echo "tool 1.2 $1"')
    found = await toolbox(tmp_path).versions(StageSpec("a", run=("tool", "x"), tools=("tool", "tool version -v")))
    assert found["tool"] == "tool 1.2 --version"
    assert found["tool version -v"] == "tool 1.2 version"
    assert found["program"] == "digest of tool"


@pytest.mark.parametrize(("text", "said"), [("exit 3", "exit code 3"), ("echo oops; exit 1", "oops")])
async def test_a_tool_that_does_not_say_its_version_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    tool(tmp_path, text)
    with pytest.raises(UsageError, match=said):
        await toolbox(tmp_path).versions(StageSpec("a", run=("true",), tools=("tool",)))


async def test_a_tool_that_is_not_there_is_named_with_its_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pipeline\.a\.tools: 'no-such-tool' is not there"):
        await toolbox(tmp_path).versions(StageSpec("a", run=("true",), tools=("no-such-tool",)))


async def test_a_tool_is_asked_once_in_a_run(tmp_path: Path) -> None:
    tool(tmp_path, "echo asked >> asked.log; echo 1")
    box = toolbox(tmp_path)
    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(box.versions, StageSpec(name, run=("true",), tools=("tool",)))
    assert (tmp_path / "asked.log").read_text() == "asked\n"


def left_behind(keeper: GroupKeeper, *argv: str) -> subprocess.Popen[bytes]:
    """Start a process that says when it is ready, as a stage would."""
    environ = {**ENVIRON, **keeper.variables}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True, env=environ)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


async def test_a_tool_that_a_stage_replaced_is_asked_again(tmp_path: Path) -> None:
    box = LocalToolbox(tmp_path, {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}, "1.0", lambda path: path.read_text())
    spec = StageSpec("a", run=("tool",), tools=("tool",))
    tool(tmp_path, "echo 1")
    before = await box.versions(spec)
    tool(tmp_path, "echo 2")
    now = await box.versions(spec)
    assert (before["tool"], now["tool"]) == ("1", "2")
    assert before["program"] != now["program"]


@pytest.mark.parametrize(
    ("script", "code"),
    [("echo ready; exec sleep 600", -signal.SIGTERM), ("trap '' TERM; echo ready; exec sleep 600", -signal.SIGKILL)],
)
def test_what_runs_when_the_pipeline_dies_is_ended_by_the_keeper(script: str, code: int) -> None:
    keeper = GroupKeeper()
    left = left_behind(keeper, "sh", "-c", script)
    keeper.abandon()
    assert left.wait(60) == code


def test_a_command_that_clears_its_variables_is_ended_by_its_group() -> None:
    keeper = GroupKeeper()
    left = left_behind(keeper, "env", "-i", "/bin/sh", "-c", "echo ready; exec sleep 600")
    keeper.begun(left.pid)
    keeper.abandon()
    assert left.wait(60) == -signal.SIGTERM


def test_a_group_that_has_ended_is_not_touched_by_the_keeper() -> None:
    keeper = GroupKeeper()
    other = left_behind(keeper, "env", "-i", "/bin/sh", "-c", "echo ready; exec sleep 600")
    keeper.begun(other.pid)
    keeper.ended(other.pid)
    keeper.abandon()
    assert other.poll() is None
    other.kill()
    assert other.wait(60) == -signal.SIGKILL


def test_a_keeper_that_is_let_go_ends_nobody() -> None:
    with GroupKeeper() as keeper:
        other = left_behind(keeper, "sh", "-c", "echo ready; exec sleep 600")
    assert other.poll() is None
    other.kill()
    assert other.wait(60) == -signal.SIGKILL

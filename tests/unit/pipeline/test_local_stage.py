"""Stages as real processes of this machine."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from shipway.adapters.local_stage.runner import LocalStageRunner
from shipway.core.clock import SystemClock
from shipway.core.verdicts import Verdict
from shipway.pipeline.graph import build_graph
from shipway.pipeline.model import RunReport, StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.runner import PipelineRunner
from shipway.pipeline.spec import StageSpec

pytestmark = pytest.mark.anyio

FAST = {"PATH": os.environ["PATH"], "SECRET": "s3", "DECLARED": "yes"}


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code, *arguments)


def stage(name: str, code: str, *needs: str, **settings: object) -> StageSpec:
    return StageSpec(name, run=python(code), needs=needs, **settings)  # type: ignore[arg-type]


async def run(root: Path, *stages: StageSpec, grace_s: float = 5.0) -> RunReport:
    runner = PipelineRunner(LocalStageRunner(root, FAST, grace_s=grace_s), {}, SystemClock())
    with anyio.fail_after(30):
        return await runner.run(build_graph(stages))


async def only(root: Path, spec: StageSpec, *, grace_s: float = 5.0) -> StageResult:
    return (await run(root, spec, grace_s=grace_s)).results[0]


async def until(path: Path) -> str:
    """Return the text of a file once it is there and whole."""
    with anyio.fail_after(15):
        while not (path.is_file() and path.read_text().endswith("\n")):
            await anyio.sleep(0.005)
    return path.read_text()


async def ended(pid: int) -> bool:
    """Tell whether a process ends soon; one that nobody collects has ended too."""
    with anyio.move_on_after(10):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state in "ZX":
                return True
            await anyio.sleep(0.005)
    return False


@pytest.fixture
async def no_folder_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    home = tmp_path / "tmp"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    yield
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "state", "verdict", "exit_code", "problem"),
    [
        ("print('fine')", StageState.PASSED, Verdict.PASS, 0, ""),
        ("import sys; sys.exit(1)", StageState.FAILED, Verdict.FAIL, 1, "exit code 1"),
        ("import sys; sys.exit(3)", StageState.FAILED, Verdict.ERROR, 3, "exit code 3"),
        ("import sys; sys.exit(4)", StageState.FAILED, Verdict.INCONCLUSIVE, 4, "exit code 4"),
        ("import os; os.kill(os.getpid(), 9)", StageState.FAILED, Verdict.ERROR, -9, "ended by SIGKILL"),
    ],
)
async def test_how_a_command_ends_is_its_verdict(
    tmp_path: Path, code: str, state: StageState, verdict: Verdict, exit_code: int, problem: str
) -> None:
    found = await only(tmp_path, stage("a", code))
    assert (found.state, found.verdict, found.exit_code, found.problem) == (state, verdict, exit_code, problem)


async def test_a_command_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    found = await only(tmp_path, StageSpec("a", run=("no-such-program-here", "x")))
    assert (found.verdict, found.exit_code) == (Verdict.ERROR, None)
    assert found.problem == "cannot start 'no-such-program-here': No such file or directory"


async def test_stages_that_wait_for_each_other_both_pass(tmp_path: Path) -> None:
    wait = (
        "import pathlib, time\npathlib.Path('{mine}').touch()\n"
        "while not pathlib.Path('{other}').exists(): time.sleep(0.005)"
    )
    report = await run(
        tmp_path, stage("a", wait.format(mine="a", other="b")), stage("b", wait.format(mine="b", other="a"))
    )
    assert report.verdict is Verdict.PASS


async def test_a_command_sees_no_variable_that_was_not_declared(tmp_path: Path) -> None:
    code = "import os; print(sorted(name for name in os.environ if not name.startswith('LC_')))"
    found = await only(tmp_path, stage("a", code, env=("DECLARED",)))
    own = ("ATTEMPT", "KEEPER", "OUTPUT", "RESULTS", "RUN", "SHARD", "STAGE")
    given = [f"SHIPWAY_{name}" for name in own]
    assert found.output_tail == f"{['DECLARED', 'PATH', *given]}\n"


@pytest.mark.usefixtures("no_folder_left")
async def test_what_a_stage_writes_is_visible_to_later_ones_as_variable_and_as_file(tmp_path: Path) -> None:
    write = (
        "import json, os\nwith open(os.environ['SHIPWAY_OUTPUT'], 'w') as file:\n"
        "    json.dump({'release': 'rel_1', 'score': 0.5, 'rows': [1]}, file)"
    )
    read = (
        "import json, os; document = json.load(open(os.environ['SHIPWAY_RESULTS']))\n"
        "made = document['make']\n"
        "print(os.environ['SHIPWAY_STAGE_MAKE_RELEASE'], made['outputs']['rows'], made['verdict'])"
    )
    report = await run(tmp_path, stage("make", write), stage("use", read, "make"))
    make, use = report.results
    assert (make.outputs, make.metrics) == ({"release": "rel_1", "score": 0.5, "rows": [1]}, {"score": 0.5})
    assert use.output_tail == "rel_1 [1] PASS\n"


async def test_results_that_are_no_json_make_the_stage_an_error(tmp_path: Path) -> None:
    found = await only(tmp_path, stage("a", "import os; open(os.environ['SHIPWAY_OUTPUT'], 'w').write('release=1')"))
    assert found.verdict is Verdict.ERROR
    assert found.problem.startswith("SHIPWAY_OUTPUT does not hold JSON")


async def test_a_flaky_command_is_run_again(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(0 if os.environ['SHIPWAY_ATTEMPT'] == '2' else 1)"
    found = await only(tmp_path, stage("a", code, retries=4))
    assert (found.attempts, found.verdict) == (2, Verdict.PASS)


async def test_ten_megabytes_of_output_leave_their_end_and_little_memory(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(100): sys.stdout.write('x' * 99_999 + chr(10))\nprint('the end')"
    spec = stage("a", code)
    context = StageContext("run", 1, {})
    outcome = await LocalStageRunner(tmp_path, FAST).run(spec, context)
    assert outcome.verdict is Verdict.PASS
    assert context.output.text().endswith("xx\nthe end\n")
    assert context.output.kept_bytes < 200_000


# The parent says nothing and ignores SIGTERM, as its child does; both tell their ids and stay.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
name = 'child' if child == 0 else 'parent'
with open(name + '.part', 'w') as file: file.write(f'{os.getpid()}\\n')
os.rename(name + '.part', name)
print(name, flush=True)
while True: time.sleep(60)
"""


@pytest.mark.usefixtures("no_folder_left")
async def test_after_a_timeout_neither_the_command_nor_its_children_live(tmp_path: Path) -> None:
    found = await only(tmp_path, stage("a", STUBBORN, timeout_s=2.0), grace_s=0.05)
    assert (found.verdict, found.problem) == (Verdict.ERROR, "timed out after 2 s")
    assert sorted(found.output_tail.split()) == ["child", "parent"]
    assert [await ended(int((tmp_path / name).read_text())) for name in ("parent", "child")] == [True, True]


@pytest.mark.usefixtures("no_folder_left")
async def test_a_cancelled_run_leaves_no_process(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(tmp_path, stage("a", STUBBORN), grace_s=0.05))
        pids = [int(await until(tmp_path / name)) for name in ("parent", "child")]
        group.cancel_scope.cancel()
    assert [await ended(pid) for pid in pids] == [True, True]


async def test_a_command_may_clean_up_when_it_is_asked_to_end(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_): print('cleaned up'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True)\n"
        "pathlib.Path('ready').write_text('yes' + chr(10))\nwhile True: time.sleep(60)"
    )
    output = StageContext("run", 1, {})
    async with anyio.create_task_group() as group:
        group.start_soon(LocalStageRunner(tmp_path, FAST).run, stage("a", code), output)
        await until(tmp_path / "ready")
        group.cancel_scope.cancel()
    assert output.output.text() == "ready\ncleaned up\n"


async def test_a_process_left_in_the_background_ends_with_its_stage(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, time\nchild = os.fork()\n"
        "if child == 0:\n    time.sleep(600)\nelse:\n    pathlib.Path('pid').write_text(f'{child}' + chr(10))"
    )
    found = await only(tmp_path, stage("a", code))
    assert found.verdict is Verdict.PASS
    assert await ended(int((tmp_path / "pid").read_text()))


# A grandchild in a session of its own, which ignores SIGTERM; it tells its id before the command goes on.
STRAY = """
import os, pathlib, signal, sys, time
name = f"stray{os.environ['SHIPWAY_ATTEMPT']}"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path(name + '.part').write_text(f'{os.getpid()}' + chr(10))
        os.rename(name + '.part', name)
        time.sleep(600)
    os._exit(0)
while not pathlib.Path(name).exists(): time.sleep(0.005)
"""
# Without /proc nobody can tell whose a process is that left its group.
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")


@needs_proc
@pytest.mark.parametrize(("code", "verdict"), [("", Verdict.PASS), ("sys.exit(1)", Verdict.FAIL)])
async def test_a_process_that_left_the_group_ends_with_its_stage(tmp_path: Path, code: str, verdict: Verdict) -> None:
    found = await only(tmp_path, stage("a", STRAY + code), grace_s=0.05)
    assert found.verdict is verdict
    assert await ended(int((tmp_path / "stray1").read_text()))


@needs_proc
async def test_a_process_that_left_the_group_ends_with_a_stage_that_takes_too_long(tmp_path: Path) -> None:
    spec = stage("a", STRAY + "time.sleep(600)", timeout_s=3.0)
    assert (await only(tmp_path, spec, grace_s=0.05)).problem == "timed out after 3 s"
    assert await ended(int((tmp_path / "stray1").read_text()))


@needs_proc
async def test_a_process_that_left_the_group_ends_with_a_cancelled_run(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(tmp_path, stage("a", STRAY + "time.sleep(600)"), grace_s=0.05))
        pid = int(await until(tmp_path / "stray1"))
        group.cancel_scope.cancel()
    assert await ended(pid)


@needs_proc
async def test_what_a_failed_attempt_left_is_gone_before_the_next_one(tmp_path: Path) -> None:
    # The second attempt passes when the first one's process has no command line any more.
    look = (
        "import os, pathlib, sys\nif os.environ['SHIPWAY_ATTEMPT'] == '2':\n"
        "    try: sys.exit(1 if pathlib.Path('/proc', open('stray1').read().strip(), 'cmdline').read_bytes() else 0)\n"
        "    except OSError: sys.exit(0)\n"
    )
    found = await only(tmp_path, stage("a", look + STRAY + "sys.exit(1)", retries=1), grace_s=0.05)
    assert (found.attempts, found.verdict) == (2, Verdict.PASS)


@needs_proc
async def test_the_end_of_a_stage_leaves_what_others_started_alone(tmp_path: Path) -> None:
    wait = "import pathlib, time\nwhile not pathlib.Path('stray1').exists(): time.sleep(0.005)"
    alive = (
        "\npid = pathlib.Path('stray1').read_text().strip()\nwhile not pathlib.Path('over').exists(): time.sleep(0.005)"
        "\nsys.exit(0 if pathlib.Path('/proc', pid, 'cmdline').read_bytes() else 1)"
    )
    over = "open('over', 'w').close()"
    specs = (stage("a", STRAY + alive), stage("b", wait), stage("c", over, "b"))
    async with LocalStageRunner(tmp_path, FAST, grace_s=0.05) as commands:
        with anyio.fail_after(30):
            report = await PipelineRunner(commands, {}, SystemClock()).run(build_graph(specs))
    assert report.verdict is Verdict.PASS


async def test_a_report_of_real_stages_is_json(tmp_path: Path) -> None:
    report = await run(tmp_path, stage("a", "print('ä')"))
    body = json.loads(json.dumps(report.to_dict()))
    assert body["stages"][0]["output_tail"] == "ä\n"

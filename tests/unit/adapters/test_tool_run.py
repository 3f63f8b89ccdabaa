import sys

import anyio
import pytest

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.pipeline.tail import OutputTail
from shipway.pipeline.tools.model import SCRATCH

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner(tmp_path):
    return LocalToolRunner(tmp_path, {"PATH": "/usr/bin:/bin"}, OutputTail(), grace_s=0.5)


async def test_what_a_program_prints_and_what_it_says_are_kept_apart(runner):
    done = await runner.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", "err\n")
    assert runner.output.text() == "err\n"


async def test_streamed_output_goes_to_the_stage(runner):
    done = await runner.run(["sh", "-c", "echo out"], streamed=True)
    assert (done.stdout, runner.output.text()) == (b"", "out\n")


async def test_files_of_the_scratch_folder_come_back_and_the_folder_goes(runner):
    done = await runner.run(["sh", "-c", f"echo {SCRATCH}; echo x > {SCRATCH}/a.txt; echo $V"], {"V": f"{SCRATCH}/v"})
    folder, _, variable = done.stdout.decode().partition("\n")
    assert done.files == {"a.txt": b"x\n"}
    assert variable.strip() == f"{folder}/v"
    assert not await anyio.Path(folder).exists()


async def test_a_program_beside_the_interpreter_is_found_without_path(tmp_path):
    runner = LocalToolRunner(tmp_path, {"PATH": "/nonexistent"}, OutputTail())
    assert runner.there(sys.executable.rpartition("/")[2])
    assert not runner.there("no-such-program")
    with pytest.raises(NotFoundError, match="no-such-program is not installed"):
        await runner.run(["no-such-program"])


async def test_an_argument_that_no_process_can_have_is_said(runner):
    with pytest.raises(UnavailableError, match="sh cannot be run"):
        await runner.run(["sh", "-c", "a\0b"])


async def test_a_version_is_one_line_and_empty_when_a_program_has_none(runner):
    assert await runner.version("sh", ("-c", "echo sh 1.0; echo more")) == "sh 1.0"
    assert await runner.version("sh", ("-c", "exit 4")) == ""


async def test_nothing_is_left_when_a_stage_is_cut_off(runner, tmp_path):
    started = tmp_path / "started"
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(runner.run, ["sh", "-c", "sleep 600 & echo $! > started; wait"])
            while not started.exists() or not started.read_text().strip():
                await anyio.sleep(0.01)
            scope.cancel()
    child = anyio.Path("/proc") / started.read_text().strip()
    assert not await child.exists() or "Z" in (await (child / "stat").read_text()).split()[2]

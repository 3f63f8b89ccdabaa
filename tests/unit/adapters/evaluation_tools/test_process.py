import os
import sys
import time
from pathlib import Path

import anyio
import pytest

from shipway.adapters.evaluation_tools.process import environment, run_program

pytestmark = pytest.mark.anyio
ENV = {"PATH": os.environ["PATH"]}


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


async def run(code, folder, timeout_s=30.0):
    return await run_program([sys.executable, "-c", code], folder, ENV, timeout_s)


async def test_a_program_ends_with_its_code_and_its_last_words(tmp_path):
    ended = await run("print('first', flush=True); import sys; sys.stderr.write('last\\n'); sys.exit(7)", tmp_path)

    assert ended.code == 7
    assert ended.how == "ended with exit code 7; its last words:\nfirst\nlast"


async def test_only_the_end_of_much_output_is_kept(tmp_path):
    ended = await run("print('x' * 3000000); [print(n) for n in range(1000)]", tmp_path)

    assert ended.tail.splitlines()[-1] == "999"
    assert len(ended.tail) < 12_000


async def kept(code, folder, keep_bytes):
    return (await run_program([sys.executable, "-c", code], folder, ENV, 30.0, keep_bytes=keep_bytes)).output


async def test_all_output_is_kept_where_it_is_wanted(tmp_path):
    code = "print('a'); print(); [print(n) for n in range(100)]; print('sk-abcdefghijklmnopqrstuvwxyz0123456789')"

    output = await kept(code, tmp_path, 1_000_000)

    assert output.splitlines()[:-1] == ["a", "", *map(str, range(100))]
    assert "sk-abc" not in output
    assert (await run(code, tmp_path)).output == ""


async def test_of_too_much_output_the_first_and_the_last_lines_are_kept_and_the_others_counted(tmp_path):
    output = await kept("[print(f'line {n:05}') for n in range(10000)]", tmp_path, 2200)

    lines = output.splitlines()
    assert (lines[0], lines[-1]) == ("line 00000", "line 09999")
    assert lines[100] == "[9800 lines are left out]"
    assert len(lines) == 201


async def test_a_line_without_end_takes_no_more_room_than_a_long_one(tmp_path):
    output = await kept("print('x' * 3000000 + 'end')", tmp_path, 1_000_000)

    assert len(output) == 20_000
    assert output.endswith("end")


async def test_a_program_that_hangs_is_stopped_with_what_it_started(tmp_path):
    # Nobody in this group ends when it is asked to.
    shell = "trap '' TERM; sleep 600 & echo $! > pid; echo waiting; wait"
    with anyio.fail_after(50):
        ended = await run_program(["sh", "-c", shell], tmp_path, ENV, 3.0)

    assert ended.code is None
    assert ended.how == "did not end within 3 s and was stopped; its last words:\nwaiting"
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_what_a_program_leaves_behind_is_stopped_too(tmp_path):
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('pid', 'w').write(str(child.pid))"
    )
    with anyio.fail_after(50):
        ended = await run(code, tmp_path)

    assert ended.code == 0
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("turns", range(3, 10))
async def test_a_run_cancelled_at_any_moment_leaves_nothing_running(tmp_path, turns):
    shell = "sleep 600 & echo $! $$ > pids; wait"
    async with anyio.create_task_group() as group:
        group.start_soon(run_program, ["sh", "-c", shell], tmp_path, ENV, 30.0)
        for _ in range(turns):
            await anyio.sleep(0)
        # The loop stands still meanwhile: the run does not know of its process yet when it is cancelled.
        pids = written(tmp_path / "pids")
        group.cancel_scope.cancel()

    assert [alive(int(pid)) for pid in pids] == [False, False]


def written(path):
    end_s = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end_s, f"{path.name} was not written"
        time.sleep(0.01)
    return path.read_text().split()


def test_nothing_of_the_users_environment_but_paths_is_handed_on(tmp_path):
    given = {"PATH": "/bin", "OPENAI_API_KEY": "sk-user", "HTTPS_PROXY": "http://proxy", "AWS_SECRET_ACCESS_KEY": "x"}

    found = environment(given, tmp_path, {"EXTRA": "1"}, reached=["http://models.local:8000/v1"])
    assert (found["PATH"], found["EXTRA"], found["HOME"]) == ("/bin", "1", str(tmp_path))
    assert not {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"} & found.keys()
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://127.0.0.1:9"
    assert found["NO_PROXY"] == "127.0.0.1,localhost,::1,models.local"
    assert found["HF_HUB_OFFLINE"] == found["DEEPEVAL_TELEMETRY_OPT_OUT"] == found["PROMPTFOO_DISABLE_TELEMETRY"] == "1"

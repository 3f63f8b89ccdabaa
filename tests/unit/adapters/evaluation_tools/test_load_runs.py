"""Running load tools: what they are told, what is read, and what a tool that misbehaves becomes."""

import json
import os
import stat
import sys

import pytest

from shipway.adapters.evaluation_tools.load_runs import LoadToolRuns, ToolLoad, arguments
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.load.tool_results import LoadTool

pytestmark = pytest.mark.anyio

SERVER = "http://127.0.0.1:1"
SUMMARY = {
    "metrics": {
        "http_req_duration": {"min": 1, "med": 5, "max": 40},
        "http_reqs": {"count": 300, "rate": 10.0},
        "http_req_failed": {"passes": 0},
    }
}
WRITES = f"""
import os, sys
out = sys.argv[sys.argv.index("--summary-export") + 1]
open(out, "w").write({json.dumps(json.dumps(SUMMARY))})
env = os.environ.get
print("asked", env("SHIPWAY_TARGET_URL"), "with", env("SHIPWAY_TARGET_KEY"), env("HOME_SECRET"))
"""


@pytest.fixture
def tool(tmp_path):
    """A program called k6 that does what a test says, and a load of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = tmp_path / "script.js"
    script.write_text("//")

    def made(code, **fields):
        program = folder / "k6"
        program.write_text(f"#!{sys.executable}\n{code}")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        runs = LoadToolRuns({"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME_SECRET": "mine"})
        return runs.run(ToolLoad(LoadTool.K6, script, SERVER, **fields))

    return made


async def test_the_summary_of_a_tool_is_read(tool):
    found = await tool(WRITES)

    assert (found.summary.requests, found.problems, found.broke_own) == (300, (), False)


async def test_a_tool_whose_own_thresholds_broke_says_so(tool):
    found = await tool(WRITES + "sys.exit(99)")

    assert (found.problems, found.broke_own) == ((), True)


async def test_a_tool_that_fails_has_a_problem_with_its_last_words_and_without_the_key(tool):
    found = await tool(WRITES + "sys.exit(107)", key="hush-hush")

    assert "ended with exit code 107" in found.problems[0]
    assert f"asked {SERVER} with *** None" in found.problems[0]


async def test_a_tool_without_a_result_is_an_error_with_its_last_words(tool):
    with pytest.raises(UnavailableError) as caught:
        await tool("print('no such scenario')")

    assert "k6 wrote no result" in str(caught.value)
    assert "no such scenario" in str(caught.value)


async def test_a_tool_with_half_a_result_is_an_error(tool):
    with pytest.raises(UnavailableError, match="k6's summary: cannot be read"):
        await tool(WRITES.replace(json.dumps(json.dumps(SUMMARY)), "'{'"))


async def test_a_missing_tool_names_the_line_that_installs_it(tmp_path):
    for name, line in ((LoadTool.LOCUST, "pip install locust"), (LoadTool.ARTILLERY, "npm install")):
        with pytest.raises(UnavailableError) as caught:
            await LoadToolRuns({"PATH": str(tmp_path)}).run(ToolLoad(name, tmp_path / "x.py", SERVER))
        assert line in str(caught.value)


async def test_a_missing_script_is_not_found(tool, tmp_path):
    (tmp_path / "script.js").unlink()

    with pytest.raises(NotFoundError, match=r"script\.js"):
        await tool(WRITES)


def test_locust_ends_by_itself_and_k6_and_artillery_keep_what_is_read(tmp_path):
    script = tmp_path / "s"
    locust = arguments(ToolLoad(LoadTool.LOCUST, script, SERVER, users=100, ramp_s=25, for_s=60), tmp_path)
    bounded = arguments(ToolLoad(LoadTool.LOCUST, script, SERVER, timeout_s=100), tmp_path)
    k6 = arguments(ToolLoad(LoadTool.K6, script, SERVER, users=5, for_s=30), tmp_path)
    artillery = arguments(ToolLoad(LoadTool.ARTILLERY, script, SERVER), tmp_path)

    assert locust[-6:] == ["-u", "100", "-r", "4", "-t", "60s"]
    assert bounded[-2:] == ["-t", "80s"]
    assert k6[-5:] == ["--vus", "5", "--duration", "30s", str(script)]
    assert "p(99.9)" in k6[k6.index("--summary-trend-stats") + 1]
    assert artillery[:4] == ["run", "--quiet", "--target", SERVER]

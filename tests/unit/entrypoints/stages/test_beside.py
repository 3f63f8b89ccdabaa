"""Servers beside tests: they are there when the tests begin, and gone when they have ended."""

import sys

import anyio
import pytest

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.entrypoints.stages.work.beside import OFFLINE, mock_llm, redis, running
from shipway.pipeline.tail import OutputTail

pytestmark = pytest.mark.anyio

LISTENS = f"""#!{sys.executable}
import socket, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
listening = socket.create_server(("127.0.0.1", port))
while True:
    listening.accept()[0].close()
"""


@pytest.fixture
def runner(tmp_path):
    (tmp_path / "bin").mkdir()
    return LocalToolRunner(tmp_path, {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, OutputTail(), grace_s=0.5)


def add(runner, text):
    script = runner.root / "bin" / "redis-server"
    script.write_text(text)
    script.chmod(0o755)


async def is_there(port):
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_a_server_listens_for_as_long_as_the_tests_run(runner):
    add(runner, LISTENS)
    server = redis()
    async with running(runner, [server]) as known:
        assert known == {"REDIS_URL": f"redis://127.0.0.1:{server.port}/0"}
        assert await is_there(server.port)
    assert not await is_there(server.port)


async def test_it_ends_with_tests_that_break_and_their_error_is_told_as_it_is(runner):
    add(runner, LISTENS)
    server = redis()
    with pytest.raises(UsageError, match="broken"):
        async with running(runner, [server]):
            raise UsageError("broken")
    assert not await is_there(server.port)


async def test_a_server_that_ends_at_once_is_said_and_its_words_are_in_the_log(runner):
    add(runner, "#!/bin/sh\necho 'no memory' >&2\nexit 1\n")
    with pytest.raises(UnavailableError, match="redis-server ended"):
        async with running(runner, [redis()]):
            pytest.fail("the tests must not begin")
    assert "no memory" in runner.output.text()


async def test_a_server_that_is_not_installed_is_said_before_anything_starts(tmp_path):
    runner = LocalToolRunner(tmp_path, {"PATH": str(tmp_path)}, OutputTail())
    with pytest.raises(NotFoundError, match="redis-server is not installed: install the package redis-server"):
        async with running(runner, [redis()]):
            pytest.fail("the tests must not begin")


async def test_a_model_that_repeats_is_there_without_the_project_or_the_network(runner):
    server = mock_llm()
    async with running(runner, [server]) as known:
        assert known["OPENAI_BASE_URL"] == f"http://127.0.0.1:{server.port}/v1"
        assert await is_there(server.port)
    assert not await is_there(server.port)


def test_clients_that_obey_proxy_variables_reach_loopback_alone():
    assert OFFLINE["HTTPS_PROXY"] == OFFLINE["https_proxy"] == "http://127.0.0.1:9"
    assert "127.0.0.1" in OFFLINE["NO_PROXY"]

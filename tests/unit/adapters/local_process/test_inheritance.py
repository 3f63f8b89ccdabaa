"""Sockets and a word of readiness, from the process that has them to the one that serves on them."""

import os
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from shipway.adapters.local_process.inheritance import inheritance, listening, reserved, variables
from shipway.adapters.local_process.spawner import LocalSpawner
from shipway.core.errors import ConflictError
from shipway.operations.supervision import ProcessSpec

CHILD = """
import os, sys
from shipway.adapters.local_process.inheritance import inheritance
given = inheritance(os.environ)
DOES
"""


def spec(tmp_path, does, *sockets):
    program = textwrap.dedent(CHILD).replace("DOES", textwrap.dedent(does))
    descriptors = tuple(one.fileno() for one in sockets)
    return ProcessSpec("child", (sys.executable, "-c", program), tmp_path / "child.log", sockets=descriptors)


async def test_a_child_serves_on_the_sockets_it_was_given_its_own_first(tmp_path):
    with reserved("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with reserved("127.0.0.1", port, shared=True) as second:
            does = """
            own = given.sockets[0]
            own.listen()
            given.tell_ready()
            own.setblocking(True)
            client, _ = own.accept()
            client.sendall(f"{len(given.sockets)} {given.succeeds}".encode())
            """
            child = await LocalSpawner().start(spec(tmp_path, does, second, first), succeeds=True)
            assert await child.serves() is True
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.settimeout(10)
                assert client.recv(100) == b"2 True"
            assert await child.wait() == 0


async def test_a_connection_that_a_child_did_not_take_is_there_for_the_next_one(tmp_path):
    with listening("127.0.0.1", 0, backlog=8) as kept:
        first = await LocalSpawner().start(spec(tmp_path, "given.tell_ready()", kept))
        assert await first.serves() is True
        with socket.create_connection(kept.getsockname(), timeout=5) as client:
            assert await first.wait() == 0
            does = "given.sockets[0].setblocking(True); given.sockets[0].accept()[0].sendall(b'here')"
            second = await LocalSpawner().start(spec(tmp_path, does, kept))
            client.settimeout(10)
            assert client.recv(100) == b"here"
            assert await second.wait() == 0


async def test_a_child_that_ends_without_a_word_does_not_serve(tmp_path):
    with reserved("127.0.0.1", 0) as kept:
        child = await LocalSpawner().start(spec(tmp_path, "sys.exit(4)", kept))

        assert await child.serves() is False
        assert await child.wait() == 4


async def test_a_child_does_not_pass_the_sockets_on_to_its_own_children(tmp_path):
    with reserved("127.0.0.1", 0) as kept:
        does = """
        import subprocess
        os.close(2)
        look = f"import os; os.fstat({given.sockets[0].fileno()})"
        held = subprocess.run([sys.executable, "-c", look], close_fds=False)
        sys.exit(held.returncode)
        """
        child = await LocalSpawner().start(spec(tmp_path, does, kept))

        assert await child.wait() == 1


async def test_a_process_without_sockets_is_given_nothing_and_serves_at_once(tmp_path):
    child = await LocalSpawner().start(spec(tmp_path, "sys.exit(0 if given is None else 1)"))

    assert await child.serves() is True
    assert await child.wait() == 0


async def test_a_program_that_is_missing_leaves_no_pipe_open(tmp_path):
    before = list(Path("/proc/self/fd").iterdir())
    with reserved("127.0.0.1", 0) as kept:
        missing = ProcessSpec("child", ("/no/such/program",), tmp_path / "child.log", sockets=(kept.fileno(),))
        with pytest.raises(FileNotFoundError):
            await LocalSpawner().start(missing)

    assert len(list(Path("/proc/self/fd").iterdir())) <= len(before)


def test_telling_a_parent_that_has_gone_is_no_error():
    heard, told = os.pipe()
    os.close(heard)
    with reserved("127.0.0.1", 0) as kept:
        handed = ProcessSpec("child", (), Path("child.log"), sockets=(os.dup(kept.fileno()),))
        given = inheritance(variables(handed, told, succeeds=False))
        assert given is not None
        given.tell_ready()
        given.sockets[0].close()


def test_nobody_is_connected_to_an_address_that_is_only_reserved():
    with reserved("127.0.0.1", 0) as kept, pytest.raises(ConnectionRefusedError):
        socket.create_connection(kept.getsockname(), timeout=5)


def test_an_address_that_is_taken_is_named():
    with listening("127.0.0.1", 0, backlog=8) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} on 127.0.0.1 is in use"):
            reserved("127.0.0.1", port)

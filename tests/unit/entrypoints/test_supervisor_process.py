"""The sockets that the supervisor keeps for the gateway's workers."""

import socket
from pathlib import Path

import pytest

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError
from shipway.entrypoints.supervisor_process import gateway_seats
from shipway.services.application import Workspace
from shipway.services.local import Local
from shipway.services.running import write_json


def local(root: Path, workers: int, port: int | None) -> Local:
    routes = {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}
    project = Project.model_validate({"app": "a", "routes": routes, "server": {"workers": workers}})
    if port is not None:
        endpoints = {"gateway": f"http://127.0.0.1:{port}", "control": "http://127.0.0.1:1", "engines": {}}
        write_json(Workspace(root).run / "endpoints.json", endpoints)
    return Local(LoadedProject(root, "local", project, {}), Workspace(root), None, None, ManualClock())


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("workers", [1, 3])
def test_each_worker_has_a_socket_on_the_port_that_up_chose(tmp_path, port, workers):
    made = gateway_seats(local(tmp_path, workers, port))

    assert [one.listener.getsockname() for one in made] == [("127.0.0.1", port)] * workers
    for one in made:
        one.close()


def test_a_port_that_was_taken_meanwhile_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} on 127.0.0.1 is in use"):
            gateway_seats(local(tmp_path, 1, port))


def test_without_a_port_the_workers_bind_one_themselves(tmp_path):
    assert gateway_seats(local(tmp_path, 2, None)) == []

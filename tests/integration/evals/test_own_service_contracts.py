"""The contracts of the example service against the service itself, on a real socket, through the command."""

import contextlib
import io
import json
import runpy
import socket
import threading
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from werkzeug.serving import make_server

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.commands.eval_contract import contract

EXAMPLE = Path(__file__).parents[3] / "examples" / "own-service"
CONTRACTS = str(EXAMPLE / "evals" / "contracts.yaml")
OPENAPI = str(EXAMPLE / "evals" / "openapi.yaml")


@pytest.fixture
def service():
    """The example on a port of its own, and what a test breaks of it."""
    module = runpy.run_path(str(EXAMPLE / "app.py"))
    server = make_server("127.0.0.1", 0, module["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", module["app"]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed_port():
    """An address where nobody listens: the port is taken and never accepts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def run(*arguments):
    """Return exit code and output."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(contract)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = get_command(app).main(list(arguments), standalone_mode=False)
    return code, out.getvalue()


def test_the_service_keeps_its_contracts(service):
    code, out = run(CONTRACTS, "--url", service[0])
    assert (code, out) == (0, "PASS: 4 of 4 contracts kept\n")


def test_the_service_is_as_its_openapi_document_says(service):
    code, out = run("--openapi", OPENAPI, "--url", service[0])
    assert (code, out) == (0, "PASS: 4 of 4 contracts kept\n")


def test_a_service_that_changed_breaks_its_contract_with_file_line_and_pointer(service):
    url, app = service
    app.view_functions["classify"] = lambda: {"label": 5, "release": "r"}
    code, out = run(CONTRACTS, "--url", url)
    assert code == 1
    assert f"{CONTRACTS}:2: FAIL contract/schema 'a message gets a label': /label: \"order\" was expected" in out
    assert out.endswith("FAIL: 2 of 4 contracts kept\n")


def test_json_has_every_check_with_its_pointer(service):
    url, app = service
    app.view_functions["classify"] = lambda: {"label": 5, "release": "r"}
    code, out = run(CONTRACTS, "--url", url, "--json")
    document = json.loads(out)
    assert (code, document["verdict"]) == (1, "FAIL")
    broken = [row for row in document["findings"] if row["check"] == "schema" and row["verdict"] == "FAIL"]
    assert broken[0]["pointer"] == "/label"


def test_a_service_that_is_not_there_is_an_error(closed_port):
    code, out = run(CONTRACTS, "--url", closed_port)
    assert code == 3
    assert "ERROR contract/status 'a message gets a label': no reply:" in out
    assert out.endswith("ERROR: 0 of 4 contracts kept\n")


def test_an_operation_that_changes_things_is_named_and_not_sent(service, tmp_path):
    text = (
        Path(OPENAPI)
        .read_text()
        .replace("  /orders/{number}:\n", "  /orders/{number}:\n    delete: { responses: { '204': {} } }\n")
    )
    document = tmp_path / "api.yaml"
    document.write_text(text)
    code, out = run("--openapi", str(document), "--url", service[0])
    assert code == 4
    assert "not asked: DELETE /orders/{number}: not sent, because DELETE may change what is there" in out
    code, out = run("--openapi", str(document), "--url", service[0], "--skip", "DELETE /orders/{number}")
    assert code == 0
    assert "note: DELETE /orders/{number}: left out, as asked" in out


def test_a_file_and_a_document_together_are_refused():
    with pytest.raises(UsageError, match="give a file of contracts, or a document with --openapi"):
        run(CONTRACTS, "--openapi", OPENAPI, "--url", "http://127.0.0.1:1")


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="did you mean 'DELETE'"):
        run("--openapi", OPENAPI, "--url", "http://127.0.0.1:1", "--method", "DELTE")

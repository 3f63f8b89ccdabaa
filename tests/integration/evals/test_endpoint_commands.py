"""`shipway eval smoke` and `shipway eval perf` against a real socket, outside any project."""

import contextlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import typer
from typer.main import get_command

from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.entrypoints.cli.commands.eval_perf import perf
from shipway.entrypoints.cli.commands.eval_smoke import smoke

CHECKS = """\
- { name: capital, kind: contains, route: m, prompt: "Capital of France?", contains: Paris }
- { name: counted, kind: counters }
"""


class Handler(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that counts what it was asked."""

    protocol_version = "HTTP/1.1"
    answer = "Paris"
    asked: list[dict] = []  # noqa: RUF012 - a class of its own for each server

    def do_GET(self):
        counted = {"requests_total": len(self.asked), "request_duration_seconds_count": 1, "tokens_total": 1}
        text = "".join(f"shipway_{name} {value}\n" for name, value in counted.items())
        self._send(200 if self.path == "/metrics" else 404, text.encode(), "text/plain")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        usage = {"completion_tokens": 2}
        if body.get("stream"):
            piece = {"choices": [{"delta": {"content": self.answer}}]}
            lines = [json.dumps(piece), json.dumps({"choices": [], "usage": usage}), "[DONE]"]
            self._send(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")
            return
        reply = {"choices": [{"message": {"content": self.answer}}], "usage": usage}
        self._send(200, json.dumps(reply).encode(), "application/json")

    def log_message(self, *arguments):
        """Stay silent."""

    def _send(self, status, data, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def served():
    handler = type("OneHandler", (Handler,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder; return exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHIPWAY_TARGET_KEY", raising=False)

    def ran(command, *arguments):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command()(command)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = get_command(app).main(list(arguments), standalone_mode=False)
        return code, out.getvalue()

    return ran


@pytest.fixture
def checks(tmp_path):
    path = tmp_path / "smoke.yaml"
    path.write_text(CHECKS)
    return str(path)


def test_an_endpoint_passes_a_file_of_checks(run, served, checks):
    assert run(smoke, checks, "--url", served[0]) == (0, "PASS: 2 of 2 checks passed\n")
    assert served[1].asked[0]["max_tokens"] == 100


def test_a_wrong_answer_fails_with_the_line_of_its_check(run, served, checks):
    served[1].answer = "Lyon"
    code, out = run(smoke, checks, "--url", served[0])
    assert code == 1
    assert f"{checks}:1: FAIL smoke/contains 'capital': the answer lacks 'Paris': 'Lyon'" in out


def test_smoke_as_json_has_every_check(run, served, checks):
    code, out = run(smoke, checks, "--url", served[0], "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "PASS")
    assert [(item["name"], item["kind"]) for item in found["checks"]] == [
        ("capital", "contains"),
        ("counted", "counters"),
    ]


def test_nobody_there_is_an_error_of_every_question(run, checks):
    code, out = run(smoke, checks, "--url", "http://127.0.0.1:1")
    assert code == 3
    assert "nobody could answer" in out


def test_a_check_without_a_route_outside_a_project_is_refused(run, served, tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text("- { name: a, kind: json, prompt: p }\n")
    with pytest.raises(UsageError, match=r"bare.yaml:1: route: is missing"):
        run(smoke, str(path), "--url", served[0])


def test_times_are_measured_written_and_compared(run, served, tmp_path):
    sizes = ("--batch", "1", "--batch", "2", "--iterations", "3", "--warmups", "1")
    target = (served[0], "--model", "m", *sizes)
    code, out = run(perf, *target, "--out", str(tmp_path / "base.json"))
    assert code == 0
    assert out.startswith(f"{served[0]}/v1#m\nin flight  requests  errors")
    code, out = run(perf, *target, "--baseline", str(tmp_path / "base.json"), "--max-ratio", "1000000", "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "PASS")
    assert [(row["batch"], row["requests"], row["errors"]) for row in found["rows"]] == [(1, 3, 0), (2, 6, 0)]
    assert {item["metric"] for item in found["comparison"]["ratios"]} >= {"p50_ms", "tokens_per_s"}
    assert len(served[1].asked) == 2 * (4 + 8)
    assert len({body["messages"][0]["content"] for body in served[1].asked}) == 12


def test_two_models_are_measured_in_turns(run, served):
    few = ("--batch", "1", "--iterations", "4", "--warmups", "0")
    code, out = run(perf, f"{served[0]}#new", "--against", f"{served[0]}#old", *few)
    assert code == 0
    assert f"against {served[0]}/v1#old\n" in out
    assert sorted(body["model"] for body in served[1].asked) == ["new"] * 4 + ["old"] * 4


def test_another_plan_than_that_of_the_baseline_is_an_error(run, served, tmp_path):
    target = (served[0], "--model", "m", "--batch", "1", "--warmups", "0")
    run(perf, *target, "--iterations", "2", "--out", str(tmp_path / "base.json"))
    code, out = run(perf, *target, "--iterations", "3", "--baseline", str(tmp_path / "base.json"))
    assert code == 3
    assert "not compared: iterations is 3, that of the baseline 2; measure both alike" in out


def test_when_nobody_answers_nothing_is_measured(run):
    with pytest.raises(UnavailableError, match="nobody answers"):
        run(perf, "http://127.0.0.1:1", "--model", "m")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://127.0.0.1:1",), "an address needs the model's name"),
        (
            ("http://127.0.0.1:1", "--model", "m", "--max-ratio", "1.2"),
            "--max-ratio compares: give --against or --baseline",
        ),
        (("http://127.0.0.1:1", "--model", "m", "--baseline", "gone.json"), "gone.json: cannot be read"),
        (("http://127.0.0.1:1", "--model", "m", "--baseline", "a", "--against", "b"), "not both"),
        (("http://127.0.0.1:1", "--model", "m", "--out", "no/such/folder.json"), "there is no folder no/such"),
        (("http://127.0.0.1:1", "--model", "m", "--key-env", "GONE_KEY"), "environment variable GONE_KEY is not set"),
        (("http://127.0.0.1:1", "--model", "m", "--batch", "2", "--batch", "2"), "batch sizes are different"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(run, arguments, said):
    with pytest.raises(UsageError, match=said):
        run(perf, *arguments)


def test_a_name_is_a_route_of_the_app_that_runs_here(run):
    with pytest.raises(NotFoundError, match=r"no shipway\.yaml"):
        run(perf, "chat")

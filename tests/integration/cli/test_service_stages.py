"""The stages that ask a service and that tell others, over loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.integration.cli.chat_endpoint import Endpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONTRACTS = """- name: answers
  request: { path: /items }
  expect: { status: 200, schema: { type: object, required: [n] } }
"""


class Site(ThreadingHTTPServer):
    """Answers every request with what is set, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.answer, self.seen = 200, {"n": 1}, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        data = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PATCH(self):
        self.answer()

    def log_message(self, *_):
        return


def served(server):
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.fixture
def site():
    server = served(Site())
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def chat():
    server = served(Endpoint())
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def of_stages(make_app):
    """Return an app with these stages, and what a run of it came to."""

    def run(stages, *arguments):
        app = make_app()
        app.write("api.yaml", CONTRACTS)
        app.edit("shipway.yaml", "pipeline: { release: { uses: release } }", f"pipeline:\n{stages}")
        done = app.run("pipeline", "run", "--json", *arguments)
        return app, {stage["name"]: stage for stage in done.json["stages"]}, done.out + done.err

    return run


def test_a_contract_that_is_kept_passes_and_one_that_is_broken_fails(of_stages, site):
    stages = f"  api: {{ uses: contract, with: {{ url: '{site.url}', file: api.yaml }} }}\n"
    _, kept, _ = of_stages(stages)
    assert kept["api"]["verdict"] == "PASS"
    site.answer = {"x": 1}
    _, broken, _ = of_stages(stages)
    assert broken["api"]["verdict"] == "FAIL"
    assert broken["api"]["outputs"]["failures"] == 1


def test_a_service_that_is_not_there_is_an_error(of_stages, site):
    site.shutdown()
    site.server_close()
    _, found, _ = of_stages(f"  api: {{ uses: contract, with: {{ url: '{site.url}', file: api.yaml }} }}\n")
    assert found["api"]["verdict"] == "ERROR"


def test_limits_on_time_judge_every_batch_size(of_stages, chat):
    asked = f"url: '{chat.url}', model: m, batch: [1, 2], iterations: 2, warmups: 1, stream: false"
    stages = (
        f"  wide: {{ uses: performance, with: {{ {asked}, p99_ms: 100000 }} }}\n"
        f"  tight: {{ uses: performance, with: {{ {asked}, p50_ms: 0.001 }}, allow_failure: true }}\n"
    )
    _, found, _ = of_stages(stages)
    assert found["wide"]["verdict"] == "PASS"
    assert {"p50_ms_at_1", "p99_ms_at_2"} <= set(found["wide"]["outputs"])
    assert found["tight"]["verdict"] == "FAIL"
    assert "p50_ms is" in found["tight"]["problem"]


def test_a_service_that_only_fails_was_not_measured(of_stages, chat):
    chat.status = lambda question: 500
    _, found, _ = of_stages(
        f"  fast: {{ uses: performance, with: {{ url: '{chat.url}', model: m, iterations: 1 }} }}\n"
    )
    assert found["fast"]["verdict"] == "ERROR"


NOTIFY = "  ok: {{ run: ['true'] }}\n  tell: {{ uses: notify, needs: [ok], with: {{ {options} }}, retries: 0 }}\n"


def test_a_webhook_is_told_and_its_address_stands_nowhere(of_stages, site, monkeypatch):
    monkeypatch.setenv("HOOK", f"{site.url}/T0/very-secret")
    app, found, said = of_stages(NOTIFY.format(options="to: slack, url: 'env:HOOK'"))
    assert found["tell"]["verdict"] == "PASS"
    ((method, path, _, body),) = site.seen
    assert (method, path) == ("POST", "/T0/very-secret")
    assert "small: pipeline PASS" in json.loads(body)["text"]
    assert "very-secret" not in said
    kept = [path.read_bytes() for path in (app.root / ".shipway/pipeline").rglob("*") if path.is_file()]
    assert not any(b"very-secret" in data for data in kept)


def test_a_webhook_that_refuses_is_an_error_without_its_address(of_stages, site, monkeypatch):
    monkeypatch.setenv("HOOK", f"{site.url}/T0/very-secret")
    site.status, site.answer = 403, {"error": "invalid_token"}
    _, found, said = of_stages(NOTIFY.format(options="to: slack, url: 'env:HOOK'"))
    assert found["tell"]["verdict"] == "ERROR"
    assert "status 403" in found["tell"]["problem"]
    assert "very-secret" not in said


def test_a_run_that_failed_is_told_afterwards(of_stages, site, monkeypatch):
    monkeypatch.setenv("HOOK", f"{site.url}/hook")
    stages = NOTIFY.format(options="to: webhook, url: 'env:HOOK'").replace("['true']", "['false']")
    app, found, _ = of_stages(stages)
    assert found["tell"]["state"] == "skipped"
    assert app.run("pipeline", "report", "--tell", "tell").code == 0
    assert json.loads(site.seen[0][3])["verdict"] == "FAIL"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("to: slack", "to: slack needs url"),
        ("to: slack, url: 'http://hooks.test/x'", "secrets are named, not written"),
        ("to: github, token: abc", "secrets are named, not written"),
        ("to: email, server: m.test, sender: a@b.test", "needs recipients"),
        ("to: pigeon", "to"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(make_app, options, said):
    app = make_app()
    app.edit("shipway.yaml", "pipeline: { release: { uses: release } }", "pipeline:\n" + NOTIFY.format(options=options))
    done = app.run("pipeline", "run")
    assert done.code == 2
    assert said in done.err


def test_a_comment_of_a_pull_request_is_edited(of_stages, site, monkeypatch):
    monkeypatch.setenv("TOKEN", "t-secret")
    site.answer = [{"id": 5, "body": "<!-- shipway pipeline -->\nold"}]
    options = f"to: github, token: 'env:TOKEN', repository: team/shop, number: 7, url: '{site.url}'"
    _, found, said = of_stages(NOTIFY.format(options=options))
    assert found["tell"]["verdict"] == "PASS"
    assert [(method, path.partition("?")[0]) for method, path, _, _ in site.seen] == [
        ("GET", "/repos/team/shop/issues/7/comments"),
        ("PATCH", "/repos/team/shop/issues/comments/5"),
    ]
    assert "t-secret" not in said

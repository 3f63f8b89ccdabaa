"""An evaluation that is killed or interrupted is gone on with; what was answered is not asked again."""

import json
import signal
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.program import PROGRAM, environment, run_program

CASES = 40
ANSWERED_BEFORE = 17
PROJECT = """app: resumed
models: {{ far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64 }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
evals: {{ dataset: cases.jsonl, split: all, route: chat }}
gates: [{{ metric: correct, min: 0.5 }}]
"""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Endpoint(ThreadingHTTPServer):
    """Answers chat completions and counts the questions; from `hold_from` on nobody gets an answer before `go_on`."""

    daemon_threads = True

    def __init__(self, hold_from: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.hold_from = hold_from
        self.holding = threading.Event()
        self.go_on = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked[question] += 1
            held = sum(self.server.asked.values()) > self.server.hold_from
        if held and not self.server.go_on.is_set():
            self.server.holding.set()
            self.server.go_on.wait(60)
        choice = {"message": {"role": "assistant", "content": f"It is {question}."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture
def endpoint():
    server = Endpoint(ANSWERED_BEFORE)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def release(tmp_path, endpoint):
    (tmp_path / "shipway.yaml").write_text(PROJECT.format(url=endpoint.url))
    rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(CASES)]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run_program("release", "create", "--json", "--project", str(tmp_path), timeout_s=60).json["release"]


def interrupted(tmp_path, release, endpoint, number) -> tuple[int, str]:
    """Start a run, end it by a signal when the endpoint holds an answer back; return its code and what it said."""
    command = [*PROGRAM, "eval", "run", release, "--project", str(tmp_path)]
    # Whoever runs the tests in the background may have had SIGINT ignored, which a program inherits.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    signal.signal(signal.SIGINT, before)
    assert endpoint.holding.wait(60)
    started.send_signal(number)
    said = started.communicate(timeout=60)[0].decode()
    endpoint.go_on.set()
    return started.returncode, said


def resumed(tmp_path, release, *more):
    return run_program("eval", "run", release, "--resume", *more, "--project", str(tmp_path), timeout_s=60)


def test_kill_9_loses_no_finished_answer(tmp_path, endpoint, release):
    code, _ = interrupted(tmp_path, release, endpoint, signal.SIGKILL)
    assert code == -signal.SIGKILL
    answered = [f"word{n}" for n in range(ANSWERED_BEFORE)]
    assert endpoint.asked == Counter([*answered, f"word{ANSWERED_BEFORE}"])

    done = resumed(tmp_path, release, "--json")

    assert (done.code, done.json["verdict"]) == (0, "PASS")
    assert done.json["gates"][0]["n"] == CASES
    asked_twice = {question for question, times in endpoint.asked.items() if times > 1}
    assert asked_twice == {f"word{ANSWERED_BEFORE}"}
    assert len(endpoint.asked) == CASES
    again = resumed(tmp_path, release)
    assert again.code == 2
    assert "no unfinished run of this plan" in again.err


def test_ctrl_c_keeps_the_answers_and_says_how_to_go_on(tmp_path, endpoint, release):
    code, said = interrupted(tmp_path, release, endpoint, signal.SIGINT)

    assert code == 130
    assert f"answers so far are kept in {tmp_path / '.shipway' / 'runs' / 'run_'}" in said
    assert "no verdict was stored; the same command with --resume asks only what is not answered yet" in said
    assert "Traceback" not in said
    assert resumed(tmp_path, release).code == 0
    assert sum(endpoint.asked.values()) == CASES + 1


def test_a_run_is_not_gone_on_with_under_another_plan(tmp_path, endpoint, release):
    interrupted(tmp_path, release, endpoint, signal.SIGKILL)

    done = resumed(tmp_path, release, "--repeats", "3")

    assert done.code == 2
    assert "differs" in done.err
    assert "repeats: 1 against 3" in done.err

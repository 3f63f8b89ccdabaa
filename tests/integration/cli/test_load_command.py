"""`shipway load`: plans and options, results and exit codes, and whom it refuses to ask.

A machine that pauses makes the generator late, which is an ERROR; so what is judged is looked at beside the verdict.
"""

import json
import threading
from collections.abc import Iterator

import pytest
from tests.integration.cli.chat_endpoint import Endpoint
from tests.integration.cli.test_replay import keep_samples

PLAN = """
warmup_s: 0
stream: false
model: m
stages: [{ rate: 50, for_s: 1 }]
requests: [{ name: short, prompt: "Where?" }, { name: long, prompt: "Tell me all of it." }]
"""
PROJECT = """app: small
models: {{ far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64 }} }}
prompts: {{ chat: prompts/chat.yaml }}
routes: {{ chat: {{ kind: chat, model: far, prompt: chat }} }}
"""
CODES = {"PASS": 0, "FAIL": 1, "ERROR": 3, "INCONCLUSIVE": 4, "NO_DATA": 4}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def plan(tmp_path):
    def written(text=PLAN):
        path = tmp_path / "plan.yaml"
        path.write_text(text)
        return str(path)

    return written


def judged(report):
    return {check["name"]: check["verdict"] for check in report["checks"]}


def test_a_plan_is_run_and_its_result_written(shipway, plan, endpoint, tmp_path):
    files = [str(tmp_path / name) for name in ("r.json", "m.json", "j.xml")]
    options = ["--out", files[0], "--metrics", files[1], "--junit", files[2], "--limit", "p50_ms=100000"]

    done = shipway("load", plan(), "--url", endpoint.url, *options, "--json")

    report = json.loads(done.out)
    assert judged(report) == {"p50_ms": "PASS"}
    assert done.code == CODES[report["verdict"]]
    assert {part["name"] for part in report["requests"]} == {"short", "long"}
    assert json.loads((tmp_path / "m.json").read_text())["requests"] == report["metrics"]["requests"]
    assert json.loads((tmp_path / "r.json").read_text()) == report
    assert "<testsuite" in (tmp_path / "j.xml").read_text()
    # Each request, and one more before them, is another question.
    assert set(endpoint.asked.values()) == {1}
    assert len(endpoint.asked) == report["metrics"]["requests"] + 1


def test_a_broken_limit_fails(shipway, plan, endpoint):
    done = shipway("load", plan(), "--url", endpoint.url, "--limit", "p50_ms=0.001", "--json")

    report = json.loads(done.out)
    assert judged(report) == {"p50_ms": "FAIL"}
    assert done.code == CODES[report["verdict"]]


def test_the_lines_end_with_the_verdict(shipway, plan, endpoint):
    done = shipway("load", plan(), "--url", endpoint.url, "--limit", "error_rate=0.9")

    assert done.out.strip().splitlines()[-1] in CODES
    assert "error_rate 0.00%" in done.out


def test_a_server_that_refuses_is_not_loaded(shipway, plan, endpoint):
    endpoint.status = lambda _question: 500

    done = shipway("load", plan(), "--url", endpoint.url)

    assert done.code == 3
    assert "status 500; nothing was loaded" in done.err
    assert sum(endpoint.asked.values()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://10.1.2.3", "--model", "m"], "--allow-host 10.1.2.3"),
        (["--url", "http://127.0.0.1:9"], "names no model: --model"),
        (["--url", "http://127.0.0.1:9", "--rate", "1", "--users", "2"], "--rate or --users, not both"),
        (["--url", "http://127.0.0.1:9", "--for", "10s"], "give --rate or --users with them"),
        (["--url", "http://127.0.0.1:9", "--limit", "p99_ms"], "write NAME=NUMBER"),
        (["--url", "http://127.0.0.1:9", "--limit", "nonsense=3"], "no limit is called nonsense"),
        (["--url", "http://127.0.0.1:9", "--model", "m", "--key", "swk_clear-text-key"], "env:NAME or file:PATH"),
        (["--url", "http://user:secret@127.0.0.1:9", "--model", "m"], "holds a password"),
        (["--tool", "locust"], "needs its script and the --url"),
        (["none.yaml"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(shipway, arguments, said):
    done = shipway("load", *arguments)

    assert done.code == 2
    assert said in done.err
    assert "secret" not in done.err.replace("hint", "")
    assert "clear-text" not in done.err


def test_a_tool_that_is_missing_is_an_error_with_the_line_that_installs_it(shipway, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    done = shipway("load", "locustfile.py", "--tool", "locust", "--url", "http://127.0.0.1:9")

    assert done.code == 3
    assert "pip install locust" in done.err


def test_recorded_traffic_is_asked_as_often_as_users_asked_it(shipway, plan, make_app, endpoint):
    app = make_app()
    app.write("shipway.yaml", PROJECT.format(url=endpoint.url))
    keep_samples(app, ["How long?", "How long?", "How long?", "Where is it?"])
    text = PLAN.replace("requests:", "unique: false\nlimits: { error_rate: 1 }\n#")

    done = app.run("load", plan(text), "--url", endpoint.url, "--recorded", "--json")

    report = json.loads(done.out)
    assert set(endpoint.asked) == {"How long?", "Where is it?"}
    assert endpoint.asked["How long?"] > endpoint.asked["Where is it?"]
    assert "recorded questions of chat" in report["notes"][0]


def test_a_stage_of_a_pipeline_loads_and_gives_its_figures(make_app, endpoint):
    app = make_app()
    app.write("load.yaml", PLAN)
    options = f"{{ plan: load.yaml, url: '{endpoint.url}', limits: {{ p50_ms: 0.001 }}, out: load.json }}"
    stage = f"{{ uses: load, with: {options}, outputs: [load.json] }}"
    app.write("shipway.yaml", PROJECT.format(url=endpoint.url) + f"pipeline: {{ load: {stage} }}\n")

    done = app.run("pipeline", "run", "--json")

    (found,) = json.loads(done.out)["stages"]
    written = json.loads((app.root / "load.json").read_text())
    assert found["outputs"] == written["metrics"]
    assert found["verdict"] == written["verdict"]
    assert judged(written) == {"p50_ms": "FAIL"}
    assert done.code == CODES[written["verdict"]]
    assert "p50_ms" in found["output_tail"]

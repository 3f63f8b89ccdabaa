"""Workers come and go under streams: by `shipway restart`, by SIGTERM to the supervisor, by `kill -9`.

SHIPWAY_RESTART_WORKERS asks for more than two workers in the rolling restart.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from tests.e2e.conftest import PROMPT
from tests.e2e.streams import USAGE, Clients, SlowEngine

PROJECT = """
app: restarted
models:
  slow:
    { engine: openai, model: slow, base_url: "http://127.0.0.1:PORT/v1", max_out: 64, price: { input: 1, output: 2 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: slow, prompt: chat } }
rates: { per_key_min: 1000000, tokens_per_min: 1000000000, concurrent_per_key: 1000 }
budgets: { daily_usd: 1000 }
server: { drain_s: 15, workers: WORKERS }
evals: { dataset: evals/cases.jsonl, split: all, route: chat }
gates: []
rollout: { steps: [{ weight: 1.0 }], drain_s: 0 }
"""
CASE = '{"id": "1", "question": "1", "must_contain": ["1"]}\n'
COST_USD = (USAGE["prompt_tokens"] * 1 + USAGE["completion_tokens"] * 2) / 1e6

WORKERS = int(os.environ.get("SHIPWAY_RESTART_WORKERS", "2"))
ESTABLISHED = "01"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def engine():
    with SlowEngine() as made:
        yield made


@pytest.fixture
def serving(project, engine):
    """Starts a project on the slow engine with a number of workers and a release that serves."""

    def start(workers):
        text = PROJECT.replace("PORT", str(engine.port)).replace("WORKERS", str(workers))
        prompt = PROMPT.format(version=1)
        app = project({"shipway.yaml": text, "evals/cases.jsonl": CASE, "prompts/chat.yaml": prompt})
        app.up()
        app.run("deploy", app.release(), "--override-gate", "the engine is a test's")
        return app

    return start


@pytest.fixture
def clients_of():
    made = []

    def make(app):
        gateway = app.endpoints["gateway"]
        made.append(Clients(lambda: gateway, app.key).__enter__())
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def workers_of(app):
    return {name: pid for name, pid in app.pids().items() if name.startswith("gateway")}


def served_ids(clients):
    ids = [one.request_id for one in clients.seen]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return set(ids)


def asked_on(connection, app):
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "1"}]})
    headers = {"authorization": f"Bearer {app.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 200
    return reply.headers["x-request-id"]


def listens(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) == 0


def connections(pid, url):
    """Return how many clients a worker has, as the system sees it."""
    port = f":{int(url.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    accepted = {row[9] for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED}
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            held.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    return len(accepted & held)


def reaches(pid, url, held):
    """Connect, stay, and return whether any of those who stayed is this worker's."""
    held.enter_context(socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=5))
    return connections(pid, url) > 0


def test_a_rolling_restart_under_200_streams_loses_nothing_and_counts_everything(serving, clients_of, until):
    app = serving(WORKERS)
    before = workers_of(app)
    idle = http.client.HTTPConnection("127.0.0.1", int(app.endpoints["gateway"].rsplit(":", 1)[1]), timeout=20)
    first = asked_on(idle, app)
    idle.auto_open = 0  # no second connection when this one is closed
    clients = clients_of(app)
    clients.start(streams=200, kept=6, fresh=6)
    until(lambda: clients.begun >= 200 and clients.count("fresh") > 20, "the streams run")

    done = app.json("restart")

    clients.finish()
    assert clients.flaws == []
    assert done == {"replaced": sorted(before), "killed": []}
    assert set(workers_of(app).values()).isdisjoint(before.values())
    # Whoever asked nothing all the time did not notice either.
    ids = served_ids(clients) | {first, asked_on(idle, app)}
    idle.close()
    assert clients.count("stream") >= 200
    assert min(clients.count("kept"), clients.count("fresh")) > 100
    app.run("down")
    # Every request has its record once; what each worker spent is in the one budget, to the nano-dollar.
    assert app.query("SELECT count(*), count(DISTINCT id) FROM records") == [(len(ids), len(ids))]
    assert app.recorded() == ids
    (spent,) = json.loads(app.query("SELECT body FROM documents WHERE kind = 'budgets'")[0][0])["spent"].values()
    assert spent[1] == round(len(ids) * COST_USD * 1e9)


def test_sigterm_to_the_supervisor_lets_200_streams_end_and_takes_no_more(serving, clients_of, until, is_alive):
    app = serving(2)
    clients = clients_of(app)
    clients.start(streams=200)
    clients.last()
    until(lambda: clients.begun == 200, "the streams run")
    pids = app.pids()
    until(
        lambda: sum(connections(pid, app.endpoints["gateway"]) for pid in workers_of(app).values()) == 200, "all came"
    )

    os.kill(pids["supervisor"], signal.SIGTERM)

    until(lambda: not listens(app.endpoints["gateway"]), "nobody is accepted any more")
    assert clients.count("stream") == 0
    clients.finish()
    assert clients.flaws == []
    until(lambda: not any(is_alive(pid) for pid in pids.values()), "every process has ended")
    assert app.recorded() == served_ids(clients)


def test_kill_9_of_a_worker_cuts_its_own_streams_visibly_and_nothing_else(serving, clients_of, until):
    app = serving(2)
    clients, others = clients_of(app), clients_of(app)
    clients.start(streams=60)
    clients.last()
    victims = workers_of(app)
    url = app.endpoints["gateway"]
    until(lambda: sum(connections(pid, url) for pid in victims.values()) == 60, "the streams run")
    lost = connections(victims["gateway-0"], url)

    os.kill(victims["gateway-0"], signal.SIGKILL)

    others.start(streams=0, fresh=6)
    until(lambda: workers_of(app)["gateway-0"] not in {None, victims["gateway-0"]}, "it was started again")
    with contextlib.ExitStack() as held:
        until(lambda: reaches(workers_of(app)["gateway-0"], url, held), "it serves again")
    others.finish()
    clients.finish()
    assert others.flaws == []
    assert others.count("fresh") > 20
    assert clients.count("stream") == 60
    assert 0 < lost == len(clients.flaws)
    assert all("ClientPayloadError" in one.flaw or "ServerDisconnected" in one.flaw for one in clients.flaws)
    whole = {one.request_id for one in [*clients.seen, *others.seen] if not one.flaw}
    app.run("down")
    assert app.recorded() == whole


def test_a_successor_that_cannot_start_ends_the_restart_and_the_old_workers_stay(serving, clients_of):
    app = serving(2)
    before = workers_of(app)
    clients = clients_of(app)
    clients.start(streams=10, kept=2, fresh=2)
    key = app.root / ".shipway" / "question-hash.key"
    key.rename(key.with_suffix(".away"))
    key.mkdir()

    failed = app.run("restart", expect=3)

    assert "the successor of gateway-0 failed: it ended with 3 before it served; gateway-0 goes on" in failed.err
    assert "question-hash.key" in failed.err.partition("it said:")[2]
    assert workers_of(app) == before
    clients.finish()
    assert clients.flaws == []

"""`shipway pipeline serve` as a process, with a real repository: from a signed push to the end of its run."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import CHAT, CHAT_PROMPT
from tests.integration.cli.hook_site import Site, alive, until
from tests.unit.adapters.git.test_checkouts import Repository
from tests.unit.pipeline.webhooks.payloads import github_pull, github_push

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
HOOK = "github: { secret: { env: HOOK } }"
ALL = 'rules: [{ branch: "*", events: [push, pull_request] }, { tag: "v*" }]'


@pytest.fixture
def site(make_app: Any, tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "repository"
    root.mkdir()
    repository = Repository(root)
    repository.git("init", "-q", "-b", "main")
    # What a stage leaves behind goes to a folder outside of its checkout, where the tests look.
    (tmp_path / "seen").mkdir()
    lines = [line for line in CHAT.splitlines() if not line.startswith(("pipeline", "evals", "gates"))]
    script = f"pwd; env | sort; echo $$ > {tmp_path}/seen/$(git rev-parse HEAD); . ./stage.sh"
    stages = {"build": {"run": ["sh", "-c", script], "env": ["SHOWN", "HOOK"]}}
    stages |= {"code": {"run": ["echo", "for code"], "when": {"changed": ["code"]}}}
    stages |= {"same": {"run": ["echo", "the same"], "inputs": ["stage.sh"]}}
    found = Site(make_app(name="receiver"), repository, "\n".join([*lines, f"pipeline: {json.dumps(stages)}\n"]))
    repository.commit(**{"prompts/chat.yaml": CHAT_PROMPT, "stage.sh": "echo built\n"})
    found.configure(f"{HOOK}, {ALL}, env: [SHOWN], forks: true")
    yield found
    found.close()


def waiting(site: Site) -> str:
    """Return a stage that waits for a file of the test's, as does a process that has left its group."""
    left = f"{site.app.root.parent}/left"
    return (
        f"setsid sh -c 'echo $$ > {left}; exec sleep 600' > {left}.log 2>&1 &\n"
        f"while [ ! -s {left} ] || [ ! -e {site.app.root}/go ]; do sleep 0.1; done\n"
    )


def left_by_stage(site: Site) -> int:
    """Wait until there is the process that left the group of a stage, and return it."""
    file = site.app.root.parent / "left"
    return int(until(lambda: file.is_file() and file.read_text().strip(), "what leaves the group"))


def stage_of(site: Site, commit: str) -> int:
    """Wait until the stage of a commit runs, and return its process."""
    file = site.app.root.parent / "seen" / commit
    return int(until(lambda: file.is_file() and file.read_text().strip(), f"the stage of {commit}"))


class Provider(BaseHTTPRequestHandler):
    """GitHub's API, which takes statuses once it has refused one."""

    told: list[tuple[str, str]] = []  # noqa: RUF012 - one list for the whole server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.append((self.path, body["state"]))
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_push_runs_the_pipeline_of_its_commit_and_its_state_is_told(site):
    Provider.told.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    hook = f"github: {{ secret: {{ env: HOOK }}, status_token: {{ env: API }}, api_url: '{url}' }}"
    site.configure(f"{hook}, {ALL}, env: [SHOWN]")
    receiver = site.serve(API="a token", SHOWN="yes", OTHER="hidden")

    commit = site.commit()
    entry = site.ended(site.push(commit), "passed")
    log = Path(entry["log"]).read_text()
    printed = next(site.app.root.glob(".shipway/pipeline/checkouts/*/.shipway/pipeline/runs/*/logs/build.1.log"))
    seen = printed.read_text()
    assert "PASS" in log
    assert "built" in seen
    assert "SHOWN=yes" in seen
    assert "HOOK=" not in seen
    assert "hidden" not in seen
    until(lambda: Provider.told[-1:] == [(f"/repos/acme/assistant/statuses/{commit}", "success")], "the status")

    # Only a prompt changed since a commit that passed.
    later = site.commit(**{"prompts/chat.yaml": CHAT_PROMPT + "# changed\n"})
    lines = Path(site.ended(site.push(later), "passed")["log"]).read_text().splitlines()
    states = {line.split()[0]: line for line in lines if line.startswith(("code ", "same "))}
    assert "skipped" in states["code"]
    assert "from cache" in states["same"], "the cache of the branch was not found again"
    assert site.stop(receiver) == 0
    server.shutdown()
    server.server_close()


def test_a_killed_receiver_leaves_no_process_and_the_next_one_goes_on(site):
    commit = site.commit(**{"stage.sh": waiting(site)})
    site.repository.git("branch", "second")
    receiver = site.serve()
    first = site.push(commit)
    stage = stage_of(site, commit)
    second = site.push(commit, "second")
    site.stop(receiver, signal.SIGKILL)
    until(lambda: not alive(stage), "the end of the stage")
    assert {run["state"] for run in site.runs().values()} == {"interrupted", "queued"}

    (site.app.root / "go").touch()
    receiver = site.serve()
    assert site.ended(first, "passed")["attempts"] == 2
    assert site.ended(second, "passed")["attempts"] == 1
    # What was taken is known to every later receiver.
    assert site.stop(receiver) == 0


def test_a_stopped_receiver_ends_what_runs_and_without_one_a_run_is_cancelled_on_the_spot(site):
    commit = site.commit(**{"stage.sh": waiting(site)})
    receiver = site.serve()
    run = site.push(commit)
    stage, left = stage_of(site, commit), left_by_stage(site)

    assert site.stop(receiver) == 0
    assert (alive(stage), alive(left)) == (False, False)
    assert site.runs()[run]["state"] == "interrupted"

    done = site.app.run("pipeline", "queue", "cancel", run, "--json")
    assert (done.code, done.json["cancelled"]) == (0, True)
    assert site.runs()[run]["state"] == "cancelled"
    assert [site.app.run("pipeline", "queue", *words).code for words in (["cancel"], ["cancel", "NONE"], ["x"])] == [
        2
    ] * 3


def test_old_forced_deleted_and_tagged_commits_run_or_do_not(site):
    old = site.commit()
    new = site.commit(two="2")
    site.repository.git("tag", "-a", "-m", "first", "v1")
    site.serve()
    gone = site.push(new, "gone")
    replayed = site.push(old)
    assert site.ended(replayed, "superseded")["reason"] == f"the ref points to {new[:12]} now"
    assert site.ended(gone, "superseded")["reason"] == "the ref is gone"

    tag = github_push("refs/tags/v1", after=site.repository.git("rev-parse", "v1"), head_commit={"id": new})
    status, answer = site.send(tag)
    assert status == 202
    assert site.ended(answer["run"], "passed")["event"] == "tag"
    assert site.send(github_push(after="0" * 40))[1]["reason"] == "a branch or tag was deleted"
    assert site.send(github_push(after=new), secret="another")[0] == 401


def test_a_fork_runs_without_secrets_home_or_the_name_of_a_branch_of_ours(site):
    commit = site.commit()
    site.repository.git("update-ref", "refs/pull/7/head", commit)
    site.serve(SHOWN="yes")
    pull = github_pull(source_id=2, head="main", number=7)
    pull["pull_request"]["head"]["sha"] = commit
    status, answer = site.send(pull, "pull_request")
    assert (status, answer["status"]) == (202, "queued")

    entry = site.ended(answer["run"], "passed")
    printed = next(site.app.root.glob(".shipway/pipeline/checkouts/*/.shipway/pipeline/runs/*/logs/build.1.log"))
    assert (entry["branch"], entry["fork"]) == ("pull/7", True)
    assert "SHOWN=" not in printed.read_text()
    assert f"HOME={site.app.root / '.shipway' / 'pipeline' / 'home'}\n" in printed.read_text()


def test_a_run_is_shown_cancelled_and_stopped_after_its_time(site):
    site.configure(f'{HOOK}, rules: [{{ branch: late, timeout_s: 1 }}, {{ branch: "*" }}]')
    commit = site.commit(**{"stage.sh": waiting(site)})
    site.repository.git("branch", "late")
    site.repository.git("branch", "other")
    site.serve()
    running, queued = site.push(commit), site.push(commit, "other")
    stage, left = stage_of(site, commit), left_by_stage(site)
    shown = site.app.run("pipeline", "queue")
    assert "running" in shown.out
    assert "queued" in shown.out

    for run in (queued, running):
        assert site.app.run("pipeline", "queue", "cancel", run[-10:]).code == 0
        site.ended(run, "cancelled")
    assert (alive(stage), alive(left)) == (False, False)
    assert site.app.run("pipeline", "queue", "cancel", running).code == 2
    assert site.ended(site.push(commit, "late"), "error")["reason"] == "stopped after 1 s"


def test_a_receiver_without_its_secret_or_beside_another_does_not_start(site):
    assert site.app.run("pipeline", "serve", "--port", "0").err.startswith("shipway: environment variable HOOK")
    site.serve()
    second = site.app.spawn("pipeline", "serve", "--port", "0")
    assert second.code == 2

    site.app.write("shipway.yaml", site.pipeline)
    done = site.app.run("pipeline", "serve")
    assert done.code == 2
    assert "no webhooks section" in done.err

"""A compiled pull request: each job has a fresh clone and an empty store, as on the hosted machines of a CI system."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.ci_artifacts import Artifacts
from tests.integration.cli.conftest import ANSWER_PROMPT, LOANS, OPENING, RAG, run_here
from tests.program import Done, run_program
from tests.unit.pipeline.compile.read_github import read_github

from shipway.adapters.local_process.host import LocalHost
from shipway.pipeline.selection import Circumstance

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PULL_REQUEST = Circumstance("pull_request", "feature", ("prompt",), "pr")
EVIDENCE = ".shipway/pipeline/results/evaluate.evidence.jsonl"
ASKER = {"tenant": "default", "groups": ["public"]}
CASES = [
    {"id": f"{name}{number}", "question": question, "must_contain": [term], "expected_sources": [f"{name}.md"], **ASKER}
    for name, question, term in (
        ("opening", "When does the library open?", "9"),
        ("loans", "How long may a book be kept?", "28"),
    )
    for number in range(5)
]
GATES = """gates:
  - { metric: tenant_leak, zero_tolerance: true }
  - { metric: recall_at_5, min: 0.2 }
  - { metric: supported, min: 0.5 }
server: { drain_s: 0 }
"""
# The engine repeats the text it is shown: the answer of a prompt that shows none is its own words.
BAD_PROMPT = ANSWER_PROMPT.replace("Text: {passage}", "Dragons sing in 77 harbours. {passage}")
JUDGED_ANYHOW = """pipeline:
  corpus: { uses: rag-build }
  release: { uses: release, needs: [corpus] }
  evaluate: { uses: evaluate, needs: [release], allow_failure: true }
  gate: { uses: gate, needs: [evaluate] }
"""


@dataclass
class Hosted:
    """A CI system whose machines know nothing but the repository and what jobs hand on."""

    origin: Path
    folder: Path
    clones: dict[str, Path] = field(default_factory=dict)
    said: dict[str, Done] = field(default_factory=dict)

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.folder / "kept")

    def jobs(self) -> Mapping[str, Any]:
        """Return the jobs that a pull request starts, in running order, by what the compiled file says."""
        text = (self.origin / ".github/workflows/shipway.yml").read_text()
        started = [name for name, job in read_github(text).jobs.items() if job.runs(PULL_REQUEST)]
        return {name: self.document()["jobs"][name] for name in started}

    def document(self) -> Any:
        return yaml.safe_load((self.origin / ".github/workflows/shipway.yml").read_text())

    def run(self) -> dict[str, int]:
        """Run the jobs until one fails that may not; return their exit codes."""
        codes: dict[str, int] = {}
        for name, job in self.jobs().items():
            codes[name] = self.job(name, job)
            if codes[name] and not job.get("continue-on-error"):
                break
        return codes

    def job(self, name: str, job: Mapping[str, Any], cache: Path | None = None) -> int:
        """Run a job on a machine of its own, with what a job of this name kept in its cache before, if anything."""
        clone = self.clone(name)
        for step in job["steps"]:
            if cache is not None and "actions/cache@" in step.get("uses", ""):
                shutil.copytree(cache / step["with"]["path"], clone / step["with"]["path"])
        return self.artifacts.job(job, clone, lambda words: self.shipway(name, *words).code)

    def clone(self, name: str) -> Path:
        clone = self.clones[name] = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        git(self.folder, "clone", "--quiet", str(self.origin), str(clone))
        assert not (clone / ".shipway").exists()
        return clone

    def shipway(self, name: str, *words: str) -> Done:
        self.said[name] = run_here(*words, "--project", str(self.clones[name]))
        return self.said[name]

    def again(self, name: str) -> Done:
        """Run the stage of a job once more, where it is."""
        step = next(step for step in self.jobs()[name]["steps"] if step.get("name") == "Run")
        return self.shipway(name, *step["run"].split()[1:])

    def result(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.clones[name] / f".shipway/pipeline/results/{name}.json").read_text())
        return found


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    made = Hosted(tmp_path / "origin", tmp_path / "machines")
    yield made
    left = [name for name, clone in made.clones.items() if LocalHost().is_locked(clone / ".shipway/run/up.lock")]
    assert left == [], "a service that a stage started outlived it"


def repository(hosted: Hosted, *, prompt: str, pipeline: str = "") -> None:
    """Make a repository with a compiled workflow."""
    settings = RAG.replace("gates: [{ metric: tenant_leak, zero_tolerance: true }]\n", GATES)
    files = {
        "shipway.yaml": settings + pipeline,
        "evals/cases.jsonl": "\n".join(map(json.dumps, CASES)),
        "prompts/answer.yaml": prompt,
        "docs/opening.md": OPENING,
        "docs/loans.md": LOANS,
        ".gitignore": ".shipway/\n",
    }
    for path, text in files.items():
        (hosted.origin / path).parent.mkdir(parents=True, exist_ok=True)
        (hosted.origin / path).write_text(text)
    hosted.folder.mkdir()
    git(hosted.origin, "init", "--quiet")
    done = run_here("pipeline", "compile", "github", "--project", str(hosted.origin))
    assert done.code == 0, done.err
    git(hosted.origin, "add", "--all")
    git(hosted.origin, "commit", "--quiet", "--message", "state")


def is_refused(hosted: Hosted, line: int, before: str, after: str) -> None:
    """Change a line of the evaluation that the job of the gate fetched, and see the job refuse it."""
    path = hosted.clones["gate"] / EVIDENCE
    whole = path.read_text()
    lines = whole.split("\n")
    assert before in lines[line]
    lines[line] = lines[line].replace(before, after, 1)
    path.write_text("\n".join(lines))
    done = hosted.again("gate")
    assert done.code == 2
    assert f"{EVIDENCE} is not as stage evaluate left it" in done.err
    path.write_text(whole)


def is_deployed_where_it_serves(hosted: Hosted, evaluation: str) -> None:
    """Let the job of the canary run on a machine that serves, whose store knows nothing of the release yet."""
    where = ("--project", str(hosted.clone("canary")))
    assert run_program("up", "--timeout", "60", *where, timeout_s=90).code == 0
    try:
        job, root = hosted.document()["jobs"]["canary"], hosted.clones["canary"]
        assert hosted.artifacts.job(job, root, lambda words: hosted.shipway("canary", *words).code) == 0
        assert hosted.result("canary")["outputs"]["kind"] == "first"
        events = [event for event in run_here("audit", "list", "--json", *where).json if "evaluat" in event["action"]]
        assert [(event["action"], event["details"]["evaluation"]) for event in events] == [
            ("evaluation.taken_over", evaluation)
        ]
    finally:
        run_here("down", *where)


def test_a_pull_request_is_evaluated_in_one_job_and_judged_in_another(hosted: Hosted) -> None:
    repository(hosted, prompt=ANSWER_PROMPT)

    assert hosted.run() == dict.fromkeys(("rag-build", "release", "evaluate", "gate"), 0)

    asked = hosted.said["evaluate"].err
    assert "no service of the project answers here: it is started for this stage" in asked
    assert "the service of this stage has been stopped" in asked
    evaluation = hosted.result("evaluate")["outputs"]["evaluation"]
    judged = hosted.said["gate"].err
    assert f"evaluation {evaluation}: as stage evaluate handed it on" in judged
    assert "service" not in judged
    gate = hosted.result("gate")
    assert (gate["verdict"], gate["outputs"]["gates"], gate["outputs"]["supported"]) == ("PASS", 3, 1.0)

    is_refused(hosted, 0, '"verdict":"PASS"', '"verdict":"FAIL"')
    is_refused(hosted, 1, '"supported":1.0', '"supported":0.0')
    assert hosted.again("gate").code == 0
    (hosted.clones["gate"] / EVIDENCE).unlink()
    gone = hosted.again("gate")
    assert gone.code == 2
    assert EVIDENCE in gone.err

    before = hosted.clones["evaluate"]
    assert hosted.job("evaluate", hosted.jobs()["evaluate"], cache=before) == 0
    known = hosted.result("evaluate")
    assert (known["known"], known["outputs"]["evaluation"]) == ("cache", evaluation)
    assert (hosted.clones["evaluate"] / EVIDENCE).read_bytes() == (before / EVIDENCE).read_bytes()
    assert "service" not in hosted.said["evaluate"].err
    assert hosted.job("gate", hosted.jobs()["gate"]) == 0
    is_deployed_where_it_serves(hosted, evaluation)


def test_the_gate_of_a_bad_prompt_fails_by_the_evaluation_of_another_job(hosted: Hosted) -> None:
    repository(hosted, prompt=BAD_PROMPT, pipeline=JUDGED_ANYHOW)

    assert hosted.run() == {"corpus": 0, "release": 0, "evaluate": 0, "gate": 1}

    evaluated = hosted.result("evaluate")
    assert (evaluated["verdict"], evaluated["allowed"]) == ("FAIL", True)
    gate = hosted.result("gate")
    assert (gate["verdict"], gate["outputs"]["supported"]) == ("FAIL", 0.0)
    assert "supported >= 0.5" in gate["problem"]

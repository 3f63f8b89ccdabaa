import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shipway.config.loading import load_project
from shipway.core.errors import ConfigError, DocumentError, NotFoundError, UnavailableError, UsageError
from shipway.core.findings import FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.ports import Endpoint
from shipway.evals.tools.scored import Place
from shipway.services.tool_runs import (
    JudgeBy,
    RunOptions,
    endpoint,
    judge_report,
    read_report,
    run_tool,
    tool_gates,
)

pytestmark = pytest.mark.anyio
RECORDED = Path(__file__).parents[1] / "evals" / "tools" / "data"
PROJECT = """
app: small
models:
  echo: { engine: echo, model: echo, max_out: 64 }
  far: { engine: openai, model: large, base_url: "http://10.0.0.1:8000/v1" }
  cloud: { engine: azure, model: large, base_url: "https://a.openai.azure.com" }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
prompts: { chat: chat.yaml }
datasets: { faq: { path: faq.jsonl } }
gates:
  - { metric: correct, min: 0.2 }
  - { metric: promptfoo.pass, min: 0.8 }
  - { metric: ragas.faithfulness, non_regression: auto }
"""


@dataclass
class App:
    """As much of an application as these services look at."""

    loaded: object

    @property
    def project(self):
        return self.loaded.project


@dataclass
class Tools:
    """Notes what it is asked to run."""

    requests: list = field(default_factory=list)

    async def install(self, name):
        raise UnavailableError(f"{name} cannot be installed here")

    async def run(self, name, request):
        self.requests.append((name, request))
        return FindingReport(name, "1", (Place(name, "a").finding(Verdict.PASS),))


def engine_of(alias):
    if alias == "echo":
        raise UnavailableError("engine 'echo' is not running", hint="start it with `shipway up`")
    return Endpoint("http://10.0.0.1:8000/v1", "large", api_key="sk-far")


@pytest.fixture
def app(tmp_path):
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    cases = [{"id": "b", "question": "B?"}, {"id": "a", "question": "A?", "reference": "yes"}]
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    return App(load_project(tmp_path, {}))


async def run(app, name, source, **options):
    tools = Tools()
    options = RunOptions(**{"target": "far", **options})
    await run_tool(app, tools, name, Path(source), options, engine_of)
    ((_, request),) = tools.requests
    return request


async def test_a_named_dataset_is_handed_to_tools_that_take_cases(app):
    request = await run(app, "ragas", "faq", repeats=3, judge="http://127.0.0.1:9000/v1#judge", judge_key="sk-judge")

    assert [case.id for case in request.cases] == ["b", "a"]
    assert request.target == Endpoint("http://10.0.0.1:8000/v1", "large", "sk-far", max_tokens=256)
    assert request.judge == Endpoint("http://127.0.0.1:9000/v1", "judge", "sk-judge")
    assert request.folder.parent == app.loaded.root / ".shipway" / "runs" / "tools"


async def test_a_tools_own_file_is_run_as_it_is(app, tmp_path):
    (tmp_path / "c.yaml").write_text("tests: []")

    request = await run(app, "promptfoo", tmp_path / "c.yaml")
    assert (request.source, request.cases) == (tmp_path / "c.yaml", ())
    assert (request.judge.base_url, request.judge.model) == ("http://10.0.0.1:8000/v1", "large")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [("promptfoo", "none.yaml", "none.yaml: no such file"), ("ragas", "none.jsonl", "none.jsonl: No such file")],
)
async def test_a_file_that_is_not_there_is_named(app, name, source, said):
    with pytest.raises(NotFoundError, match=said):
        await run(app, name, source)


@pytest.mark.parametrize(
    ("named", "kind", "said"),
    [
        ("http://127.0.0.1:1/v1", UsageError, "which model of this endpoint"),
        ("fer", UsageError, "there is no model 'fer' in models\n  did you mean 'far'"),
        ("cloud", UsageError, "do not speak Azure's form"),
        ("echo", UnavailableError, "engine 'echo' is not running"),
    ],
)
def test_a_target_that_cannot_be_asked_is_refused_with_the_reason(app, named, kind, said):
    with pytest.raises(kind) as caught:
        endpoint(app, named, "", engine_of)
    assert said in str(caught.value)


async def test_results_are_never_written_into_a_folder_that_holds_something(app, tmp_path):
    with pytest.raises(ConfigError, match="not an empty folder"):
        await run(app, "ragas", "faq", out=tmp_path)


def test_gates_on_tools_are_told_from_the_others(app):
    assert [spec.metric for spec in tool_gates(app.project)] == ["promptfoo.pass", "ragas.faithfulness"]


async def test_a_result_file_is_judged_beside_that_of_the_release_before():
    report = await read_report("promptfoo", RECORDED / "promptfoo-run.json")
    found = await judge_report("promptfoo", report, JudgeBy(baseline=RECORDED / "promptfoo-half.json"))

    assert (found.verdict, found.gates) == (Verdict.FAIL, None)


async def test_samples_of_lm_eval_are_found_beside_its_results(tmp_path):
    name = "results_2026-11-21T13-33-33.456448.json"
    assert (await read_report("lm-eval", RECORDED / name)).findings

    (tmp_path / name).write_bytes((RECORDED / name).read_bytes())
    (tmp_path / "samples_returns_2026-01-01T00-00-00.1.jsonl").write_text("{}")
    with pytest.raises(DocumentError, match="has no samples beside it"):
        await read_report("lm-eval", tmp_path / name)


async def test_a_result_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.json: cannot be read"):
        await read_report("inspect", tmp_path / "none.json")

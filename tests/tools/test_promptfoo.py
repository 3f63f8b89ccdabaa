"""promptfoo itself, run by its adapter. Also part of `make test` where it is installed."""

import json

import pytest
from tests.tools.conftest import ENVIRONMENTS
from typer.testing import CliRunner

from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.commands.eval_tool import group

pytestmark = [pytest.mark.tools, pytest.mark.e2e, pytest.mark.timeout(250)]

PROJECT = """
app: small
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
gates:
  - { metric: promptfoo.pass, min: 0.8 }
  - { metric: promptfoo.facts, min: 0.8 }
  - { metric: correct, min: 0.2 }
"""
CONFIG = """\
description: returns
prompts: ["{{question}}"]
providers:
  - openai:chat:gpt-4o-mini
  - anthropic:messages:nothing-is-asked-there
tests:
  - vars: {question: "How long can I return it?"}
    metadata: {id: period}
    assert:
      - {type: contains, value: 30 days, metric: facts}
      - {type: llm-rubric, value: names the period}
      - {type: similar, value: within thirty days, threshold: 0.8}
  - vars: {question: "Who pays for the return?"}
    metadata: {id: cost}
    assert:
      - {type: contains, value: You pay, metric: facts}
  - vars: {question: "Do you repair it?"}
    metadata: {id: trains}
    assert:
      - {type: icontains, value: two years}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(CONFIG)
    return path


def verdicts(report, metric=""):
    return {(item.case_id, item.repeat): item.verdict.value for item in report.findings if item.metric == metric}


def test_a_configuration_is_put_to_the_target_alone(tool, endpoint, config, noted):
    promptfoo = tool("promptfoo")
    report = promptfoo.run(config, repeats=2)

    assert report.problems == ()
    assert verdicts(report) == {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert set(verdicts(report, "facts").values()) == {"PASS"}
    assert set(endpoint.hits) == {"answers", "judge", "vectors"}
    assert config.read_text() == CONFIG
    noted["promptfoo"] = promptfoo.took


def test_a_target_that_fails_for_one_case_is_an_error_there(tool, config):
    report = tool("promptfoo").run(config, target="half")

    assert verdicts(report) == {("period", 0): "PASS", ("cost", 0): "ERROR", ("trains", 0): "FAIL"}


def test_a_judge_that_writes_prose_gives_no_verdict(tool, config):
    report = tool("promptfoo").run(config, judge="answers")

    assert verdicts(report)["period", 0] == "ERROR"


def test_a_target_that_hangs_is_stopped_with_all_that_was_started(tool, config):
    promptfoo = tool("promptfoo")
    report = promptfoo.run(config, target="hang", timeout_s=12.0)

    assert report.verdict is Verdict.ERROR
    assert report.problems[0].startswith("promptfoo did not end within 12 s and was stopped")


def test_a_configuration_that_promptfoo_refuses_is_an_error_with_its_words(tool, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({"tests": [{"vars": {"question": "a"}, "assert": [{"type": "no-such-type"}]}]}))

    report = tool("promptfoo").run(path)
    assert report.verdict is Verdict.ERROR


def test_the_command_runs_it_and_a_gate_of_the_project_decides(tool, endpoint, tmp_path):
    tool("promptfoo")
    good = {"vars": {"question": "How long?"}, "assert": [{"type": "contains", "value": "30 days", "metric": "facts"}]}
    tests = [{**good, "metadata": {"id": f"case-{number}"}} for number in range(60)]
    (tmp_path / "c.json").write_text(json.dumps({"prompts": ["{{question}}"], "tests": tests}))
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    words = ["run", "promptfoo", str(tmp_path / "c.json"), "--target", f"{endpoint.url}#answers", "--repeats", "2"]

    done = CliRunner().invoke(group, [*words, "--tools", str(ENVIRONMENTS), "-p", str(tmp_path), "--concurrency", "16"])

    assert done.exit_code == 0, done.output
    assert "promptfoo.pass: 120 PASS, 0 FAIL, 0 ERROR" in done.stdout
    assert done.stdout.splitlines()[-1] == "PASS"
    assert set(endpoint.hits) == {"answers"}

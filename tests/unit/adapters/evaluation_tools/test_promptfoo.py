from pathlib import Path

import pytest
import yaml

from shipway.adapters.evaluation_tools.promptfoo import rewritten
from shipway.core.errors import UsageError
from shipway.evals.tools.ports import Endpoint, ToolRequest

REQUEST = ToolRequest(
    source=Path("promptfooconfig.yaml"),
    target=Endpoint("http://127.0.0.1:1/v1", "small", api_key="sk-target", max_tokens=64),
    judge=Endpoint("http://127.0.0.1:2/v1", "large", api_key="sk-judge", embedding_model="vectors"),
    folder=Path("out"),
)
CONFIG = """
prompts: [file://prompt.txt]
providers: [openai:gpt-4o, {id: anthropic:messages:x, config: {apiKey: secret}}]
targets: [openai:gpt-4o]
sharing: true
defaultTest: {vars: {tone: plain}, options: {provider: openai:gpt-4o, transform: output.trim()}}
tests: [{vars: {question: a}}]
"""


def test_every_provider_of_a_configuration_becomes_the_target():
    found = rewritten(CONFIG, REQUEST)

    (provider,) = found["providers"]
    assert provider == {
        "id": "openai:chat:small",
        "config": {"apiBaseUrl": "http://127.0.0.1:1/v1", "apiKeyEnvar": "SHIPWAY_TARGET_KEY", "max_tokens": 64},
    }
    assert not {"targets", "sharing"} & found.keys()
    assert "gpt-4o" not in yaml.safe_dump(found)


def test_the_judges_of_a_configuration_become_the_judge_and_the_rest_stays():
    defaults = rewritten(CONFIG, REQUEST)["defaultTest"]

    assert defaults["vars"] == {"tone": "plain"}
    assert defaults["options"]["transform"] == "output.trim()"
    assert defaults["options"]["provider"]["text"]["id"] == "openai:chat:large"
    assert defaults["options"]["provider"]["embedding"]["id"] == "openai:embedding:vectors"


def test_providers_of_single_tests_and_assertions_are_left_out_and_variables_stay():
    text = """
tests:
  - vars: {question: a, provider: the post}
    provider: openai:gpt-4o
    options: {provider: openai:gpt-4o, prefix: x}
    assert:
      - {type: llm-rubric, value: good, provider: openai:gpt-4o}
      - {type: assert-set, assert: [{type: similar, value: b, provider: openai:embedding:x}]}
"""
    (test,) = rewritten(text, REQUEST)["tests"]
    assert test == {
        "vars": {"question": "a", "provider": "the post"},
        "options": {"prefix": "x"},
        "assert": [
            {"type": "llm-rubric", "value": "good"},
            {"type": "assert-set", "assert": [{"type": "similar", "value": "b"}]},
        ],
    }


def test_a_configuration_nested_without_end_is_refused():
    with pytest.raises(UsageError, match="nested"):
        rewritten("tests: &a [*a]", REQUEST)


def test_no_key_is_written_into_the_file():
    assert "sk-" not in yaml.safe_dump(rewritten(CONFIG, REQUEST))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: [", "promptfooconfig.yaml: not YAML"),
        ("- a", "promptfooconfig.yaml: has no tests"),
        ("prompts: [a]", "promptfooconfig.yaml: has no tests"),
        (
            "tests: [{vars: {a: b}}]\ndefaultTest: file://x.yaml",
            "defaultTest: 'file://x.yaml' is read from another file",
        ),
    ],
)
def test_what_is_no_configuration_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        rewritten(text, REQUEST)

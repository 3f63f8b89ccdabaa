"""The examples of the page on evaluation targets are read as they stand."""

import json
import re
import sys

import yaml

from shipway.config.sections.eval_targets import _KINDS, HttpTemplate, TargetEntry
from shipway.evals.model import Case
from shipway.evals.ports import HttpReply
from shipway.services.targets.http_template import Replied
from shipway.services.targets.python_function import opened_function
from shipway.services.targets.recorded_log import opened_log
from shipway.services.targets.service_replies import ServiceReply

PAGE = "docs/how-to/choose-an-evaluation-target.md"


def blocks(page, language):
    return [block.text for block in page(PAGE).blocks if block.language == language]


def targets(page):
    return [TargetEntry.model_validate(yaml.safe_load(text)["evals"]["target"]) for text in blocks(page, "yaml")]


def test_every_example_is_a_target_and_every_kind_has_one(page):
    entries = targets(page)

    assert {entry.kind for entry in entries} == set(_KINDS)


def test_every_place_of_a_reply_can_be_read(page):
    (template,) = [entry.http for entry in targets(page) if entry.http is not None]

    reply = {
        "choices": [{"message": {"content": "yes", "tool_calls": []}}],
        "sources": [{"id": "a"}],
        "search": {"hits": [{"document": "a", "text": "A."}]},
        "meta": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}, "price": 0.5},
    }
    told = ServiceReply.of("http://h", HttpReply(200, {}, json.dumps(reply).encode(), 1.0, 2.0))
    found = Replied.of(template).read(told)
    assert (found["tokens_in"], found["tokens_out"], found["cost_usd"]) == (3, 2, 0.5)
    assert {"answer", "citations", "retrieved", "passages", "tool_calls"} <= found.keys()


async def test_the_recorded_answers_are_read(page, tmp_path):
    (text,) = blocks(page, "json")
    (tmp_path / "log.jsonl").write_text(text)

    async with opened_log(tmp_path / "log.jsonl", "log.jsonl") as log:
        output = await log.ask(Case(id="return-window", question="How long may I return it?"), repeat=1)

    assert output.answer == "Within 30 days."


async def test_the_function_answers(page, tmp_path):
    (text,) = blocks(page, "python")
    (tmp_path / "documented_bot.py").write_text(text)
    try:
        async with opened_function("documented_bot:answer", tmp_path) as target:
            output = await target.ask(Case(id="a", question="Why?"), repeat=0)
    finally:
        sys.modules.pop("documented_bot", None)

    assert (output.answer, output.citations) == ("You asked: Why?", ("returns.md",))


def test_every_key_of_a_template_and_an_entry_is_told(page):
    text = page(PAGE).text
    names = {*HttpTemplate.model_fields, *TargetEntry.model_fields}

    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []

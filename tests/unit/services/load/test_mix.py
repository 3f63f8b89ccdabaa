"""The requests that are sent: drawn by weight, made unique, with a key that nobody sees."""

import random
from collections import Counter
from pathlib import Path

import orjson
import pytest

from shipway.core.errors import ConfigError, NotFoundError
from shipway.load.plan import Kind, LoadPlan, Stage, Template
from shipway.load.plan_file import PlanFile, RequestSection
from shipway.services.load.mix import Mix, templates_of

PLAN = LoadPlan(Kind.RATE, (Stage(1, 1, 1),))
SERVER = "http://127.0.0.1:1"


def question(name="a", weight=1.0, **body):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "Where?"}]
    return Template(name, {"model": "chat", "messages": messages, **body}, weight)


def mix(*templates, key="", **fields):
    plan = LoadPlan(Kind.RATE, (Stage(1, 1, 1),), **fields)
    return Mix(templates, SERVER, plan, key)


def body(prepared):
    return orjson.loads(prepared.body)


def test_requests_are_drawn_by_their_weights():
    drawn = Counter(mix(question("a", 3), question("b", 1)).prepare(rng).template for rng in [random.Random(1)] * 4000)

    assert drawn["a"] / 4000 == pytest.approx(0.75, abs=0.05)


def test_the_last_question_is_another_one_each_time_and_nothing_else_changes():
    rng, made = random.Random(1), mix(question())

    first, second = body(made.prepare(rng)), body(made.prepare(rng))

    assert first["messages"][-1]["content"].endswith(") Where?")
    assert first["messages"][-1] != second["messages"][-1]
    assert first["messages"][0] == {"role": "system", "content": "s"}


def test_the_same_question_is_asked_where_a_cache_may_answer():
    assert body(mix(question(), unique=False).prepare(random.Random(1)))["messages"][-1]["content"] == "Where?"


def test_chat_is_streamed_with_its_usage_unless_the_plan_or_the_request_says_no():
    streamed = mix(question()).prepare(random.Random(1))
    whole = mix(question(), stream=False).prepare(random.Random(1))
    own = mix(question(stream=False)).prepare(random.Random(1))

    assert (streamed.is_stream, body(streamed)["stream_options"]) == (True, {"include_usage": True})
    assert [item.is_stream for item in (whole, own)] == [False, False]


def test_another_path_gets_its_body_as_it_is():
    made = mix(Template("own", {"input": "x"}, path="/other")).prepare(random.Random(1))

    assert (made.url, body(made)) == (f"{SERVER}/other", {"input": "x"})


def test_the_key_is_sent_and_never_shown():
    made = mix(question(), key="hush-hush")
    prepared = made.prepare(random.Random(1))

    assert ("authorization", "Bearer hush-hush") in prepared.headers
    assert "hush" not in repr(made) + repr(prepared)


@pytest.mark.anyio
async def test_without_requests_there_is_one_question():
    (found,) = await templates_of(PlanFile(PLAN), "chat")

    assert (found.name, found.body["model"]) == ("question", "chat")


@pytest.mark.anyio
async def test_a_file_of_requests_lies_beside_the_plan(tmp_path):
    (tmp_path / "mix.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "name": "named"}\n')

    found = await templates_of(PlanFile(PLAN, requests_file=Path("mix.jsonl"), folder=tmp_path), "chat")

    assert [item.name for item in found] == ["request-1", "named"]


@pytest.mark.anyio
async def test_a_file_of_requests_that_is_missing_or_wrong_is_named(tmp_path):
    (tmp_path / "mix.jsonl").write_text("nope")

    with pytest.raises(NotFoundError, match=r"none\.jsonl"):
        await templates_of(PlanFile(PLAN, requests_file=Path("none.jsonl"), folder=tmp_path), "chat")
    with pytest.raises(ConfigError, match=r"mix\.jsonl:1"):
        await templates_of(PlanFile(PLAN, requests_file=Path("mix.jsonl"), folder=tmp_path), "chat")


@pytest.mark.anyio
async def test_requests_of_the_plan_come_before_the_default():
    plan = PlanFile(PLAN, requests=(RequestSection(prompt="a"), RequestSection(prompt="b")))

    assert [item.name for item in await templates_of(plan, "m")] == ["request-1", "request-2"]

import json

import pytest

from shipway.config.sections.evals import HttpQuestion
from shipway.core.canonical import digest_bytes
from shipway.core.errors import UpstreamError, UsageError
from shipway.evals.model import Case
from shipway.evals.ports import HttpReply
from shipway.rag.answer import Answer, Generation
from shipway.rag.model import Passage
from shipway.services.evaluation_targets import ChatTarget, HttpTarget, answer_path, output_of


class Service:
    """Answers everything alike and notes what it was asked."""

    def __init__(self, reply, status=200):
        self.body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.status = status
        self.asked = []

    async def call(self, request):
        self.asked.append(request)
        return HttpReply(self.status, {"retry-after": "3"}, self.body, 1.0, 2.0)


def target(service, **fields):
    question = HttpQuestion.model_validate({"body": {"text": "{question}"}, "answer": "label", **fields})
    return HttpTarget("rel_1", "http://h:1/classify", question, answer_path(question), service, 30.0)


async def test_a_case_is_posted_with_release_and_conversation():
    service = Service({"label": "order"})

    body = {"text": "Q: {question}", "like": ["{other}", 3]}
    output = await target(service, body=body).ask(Case(id="ä 1", question='a "b"'), repeat=1)

    assert (output.answer, output.latency_ms) == ("order", 2.0)
    (asked,) = service.asked
    assert (asked.method, asked.url, asked.timeout_s) == ("POST", "http://h:1/classify", 30.0)
    assert json.loads(asked.body) == {"text": 'Q: a "b"', "like": ["{other}", 3]}
    headers = dict(asked.headers)
    assert (headers["x-shipway-release"], headers["x-shipway-conversation"]) == ("rel_1", "eval-%C3%A4 1-1")


class Model:
    """Answers everything alike and notes what it was asked."""

    async def generate(self, messages, **_settings):
        self.messages = messages
        return Generation("yes", 1, 0, 1, "stop")


async def test_the_turns_of_a_case_stand_between_the_prompt_and_its_question():
    model, prompt = Model(), {"role": "system", "content": "You are kind."}
    turns = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"})
    decoding = {"seed": 1, "temperature": 0.0, "stop": []}
    chat = ChatTarget("rel_1", model, (prompt,), decoding, 8, lambda: 0.0)

    await chat.ask(Case("a", "And you?", messages=turns), repeat=0)

    assert model.messages == [prompt, *turns, {"role": "user", "content": "And you?"}]


@pytest.mark.parametrize(("reply", "answer"), [({"label": 3}, "3"), ({"label": True}, "true"), ({"label": ""}, "")])
async def test_a_plain_value_is_the_answer(reply, answer):
    assert (await target(Service(reply)).ask(Case("a", "b"), repeat=0)).answer == answer


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        ({"name": "x"}, 200, "http://h:1/classify: the reply has no 'label': it has name"),
        ({"label": None}, 200, "'label' of the reply is no text but None"),
        (b"<html>", 200, "the reply is not JSON"),
        ({"error": "no such model"}, 500, "answers 500: no such model"),
        ({}, 302, "a redirect to nowhere"),
    ],
)
async def test_a_reply_without_the_answer_says_what_it_is(reply, status, reason):
    with pytest.raises(UpstreamError) as caught:
        await target(Service(reply, status)).ask(Case("a", "b"), repeat=0)

    assert reason in caught.value.message
    assert caught.value.status == status


async def test_a_busy_service_says_when_to_ask_again():
    with pytest.raises(UpstreamError) as caught:
        await target(Service({}, 503)).ask(Case("a", "b"), repeat=0)

    assert caught.value.retry_after == "3"


def test_a_path_that_is_none_is_refused_before_the_service_is_started():
    with pytest.raises(UsageError, match=r"evals\.http\.answer: path .* write choices\.0\.text"):
        answer_path(HttpQuestion(body={}, answer="$.choices[0].text"))


def test_an_answer_from_documents_brings_the_passages_that_a_judge_holds_it_against():
    passages = tuple(
        Passage(digest_bytes(text.encode()), "a.md", digest_bytes(b"a"), "A", (), text, 0, len(text), None, 1.0)
        for text in ("Tools are lent for 14 days.", "Books for 28.")
    )
    found = output_of(Answer("14 days", retrieved=("a.md",), passages=passages), latency_ms=1.0)
    assert found.passages == ("Tools are lent for 14 days.", "Books for 28.")
    assert found.retrieved == ("a.md",)


async def test_what_a_service_tells_of_tokens_and_cost_is_taken():
    service = Service({"label": "order", "meta": {"input_tokens": 4, "output_tokens": 2}, "cost_usd": 0.5})
    output = await target(service, usage="meta").ask(Case(id="1", question="q"), repeat=0)
    assert (output.tokens_in, output.tokens_out, output.cost_usd, output.ttft_ms) == (4, 2, 0.5, None)

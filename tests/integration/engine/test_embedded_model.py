"""What only a real model shows: its prefix cache, its context limit, and that the example's prompts differ."""

import asyncio
from pathlib import Path

import pytest

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.rag.answer import Answerer, AnswerSettings
from shipway.rag.compose import parse_prompt
from shipway.rag.model import Passage, QuestionPart, Retrieval

pytestmark = [pytest.mark.anyio, pytest.mark.model]

PROMPTS = Path(__file__).parents[3] / "examples/helpdesk/prompts"
ASKER = Principal(TenantId("acme"), frozenset({"public"}), "key:1")
DIGEST = Digest("sha256:" + "0" * 64)
CASES = [
    ("Up to what weight are parcels collected by the courier?", "Parcels up to 20 kg are collected by the courier."),
    ("How long is the battery covered?", "All laptops carry a 24-month warranty. Batteries are covered for 12 months."),
    ("How early do I announce parental leave?", "Announce parental leave at least 10 weeks before it starts."),
    ("How long do we keep invoices?", "Invoices are kept for 10 years because tax law requires it."),
    ("Is split tunnelling allowed?", "Split tunnelling is disabled unless your manager approves it."),
    ("What is the largest upload?", "Uploads are limited to 50 MB per file."),
    ("How long does a print job wait?", "Jobs that are not collected are deleted after 24 hours."),
    ("What does a second lost badge cost?", "The first replacement is free; each further one costs 15 euros."),
]


class Known:
    """Retrieval that knows the one passage of each case."""

    async def retrieve(self, question, principal, *, top_k):
        text = dict(CASES)[question]
        found = (Passage(DIGEST, "d.md", DIGEST, "Handbook", (), text, 0, len(text), None, 1.0),)
        return Retrieval(
            question,
            found,
            (QuestionPart(question, found, 1.0, answerable=True),),
            1.0,
            answerable=True,
            timings_ms={},
            considered=1,
        )


async def test_a_prompt_that_begins_like_the_last_one_is_not_read_again(embedded):
    shared = "The library opens at nine and closes at six. " * 10
    _, first = await embedded.chat(shared + "When does it open?", max_tokens=4)
    _, second = await embedded.chat(shared + "Who is there?", max_tokens=4)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


async def test_a_prompt_beyond_the_context_is_refused_with_openais_code(embedded):
    status, reply = await embedded.chat("word " * 2000)
    assert status == 400
    assert reply["error"]["code"] == "context_length_exceeded"


async def test_a_stop_text_ends_the_answer_and_is_not_in_it(embedded):
    _, reply = await embedded.chat("Count: one, two, three, four, five. Repeat.", max_tokens=40, stop=["three"])
    choice = reply["choices"][0]
    assert "three" not in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


async def test_a_seed_fixes_what_is_drawn(embedded):
    replies = [await embedded.chat("Name an animal.", max_tokens=8, temperature=1.5, seed=11) for _ in range(3)]
    assert len({reply["choices"][0]["message"]["content"] for _, reply in replies[1:]}) == 1


async def test_concurrent_requests_are_all_answered(embedded):
    replies = await asyncio.gather(*(embedded.chat(f"Say {word}.", max_tokens=4) for word in ("a", "b", "c", "d")))
    assert [status for status, _ in replies] == [200] * 4


async def supported(engine, version: str) -> int:
    generator = OpenAiGenerator(engine.url + "/v1", "echo")
    prompt = parse_prompt((PROMPTS / f"answer.{version}.yaml").read_bytes(), version)
    answerer = Answerer(Known(), generator, prompt, AnswerSettings(max_new_tokens=64))
    answers = [await answerer.answer(question, ASKER) for question, _ in CASES]
    await generator.close()
    assert all(answer.citations for answer in answers)
    return sum(answer.supported is True for answer in answers)


async def test_the_good_prompt_keeps_what_decides_and_the_friendly_one_loses_it(embedded):
    good, friendly = await supported(embedded, "v2"), await supported(embedded, "v3")
    assert good >= 6
    assert friendly <= good - 3

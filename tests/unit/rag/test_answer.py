from dataclasses import replace

import pytest

from shipway.core.errors import ConfigError, DeadlineError
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.rag.answer import Answerer, AnswerSettings, Generation, spoken
from shipway.rag.compose import Prompt
from shipway.rag.model import Passage, QuestionPart, Retrieval

pytestmark = pytest.mark.anyio

PROMPT = Prompt(
    name="answer", version="1", system="Answer.", user="Text: {passage}\nQuestion: {question}", max_tokens=48
)
ASKER = Principal(TenantId("tidewell"), frozenset({"public"}), "key:1")
DIGEST = Digest("sha256:" + "0" * 64)
REFUSAL = "I don't know."


def passage(document: str, text: str, start: int = 0) -> Passage:
    return Passage(DIGEST, document, DIGEST, f"Title of {document}", (), text, start, start + len(text), None, 1.0)


RETURNS = passage(
    "returns.md", "Kettles can be returned within 45 days. The label costs EUR 4.90. Beans are final.", 20
)
WINDOW = passage("returns.md", "Kettles can be returned within 45 days.", 20)
EXPIRY = passage("points.md", "Tide Points expire after 20 months.")
POINTS = passage("points.md", "Tide Points expire after 20 months. Points are credited after delivery.")


class Found:
    """Retrieval that finds what the test says, and remembers who asked."""

    def __init__(self, *parts: tuple[str, tuple[Passage, ...]], answerable: bool = True) -> None:
        self.parts = tuple(QuestionPart(text, found, 1.0, answerable=answerable) for text, found in parts)
        self.answerable = answerable
        self.asked: list[tuple[str, Principal, int]] = []

    async def retrieve(self, question, principal, *, top_k):
        self.asked.append((question, principal, top_k))
        passages = tuple(item for part in self.parts for item in part.passages)
        return Retrieval(question, passages, self.parts, 1.0, self.answerable, {"embed": 1.0}, 9)


class Says:
    """A model that says what the test says, in order."""

    def __init__(self, *texts: str | Exception, reason: str = "stop") -> None:
        self.texts = list(texts)
        self.reason = reason
        self.calls: list[dict] = []

    async def generate(self, messages, **options):
        self.calls.append({"messages": messages, **options})
        said = self.texts.pop(0)
        if isinstance(said, Exception):
            raise said
        return Generation(said, 100, 80, 10, self.reason)


def answerer(found, model, **settings):
    return Answerer(found, model, PROMPT, AnswerSettings(refusal=REFUSAL, **settings))


async def test_supported_words_of_the_model_are_the_answer_with_the_systems_citation():
    model = Says("Kettles can be returned within 45 days.")
    question = "How long can kettles be returned?"
    answer = await answerer(Found((question, (RETURNS, POINTS))), model).answer(question, ASKER)
    assert answer.text.startswith("Kettles can be returned within 45 days. [1]")
    assert answer.events == ()
    assert answer.supported is True
    citation = answer.citations[0]
    assert (citation.index, citation.document, citation.title) == (1, "returns.md", "Title of returns.md")
    assert citation.quote == "Kettles can be returned within 45 days."
    assert (citation.start, citation.end) == (20, 59)
    assert answer.retrieved == ("returns.md", "points.md")


async def test_unsupported_words_are_replaced_by_a_quote_and_both_events_are_recorded():
    question = "How long can kettles be returned?"
    answer = await answerer(Found((question, (RETURNS,))), Says("You have 90 days.")).answer(question, ASKER)
    assert "45 days" in answer.text
    assert "90 days" not in answer.text
    assert answer.events == ("unsupported", "fallback")
    assert answer.supported is False
    assert answer.model_text == "You have 90 days."
    assert answer.citations[0].quote in RETURNS.text


async def test_a_quote_is_never_the_whole_passage():
    question = "How long can kettles be returned?"
    answer = await answerer(Found((question, (RETURNS,))), Says("No idea at all.")).answer(question, ASKER)
    assert "Beans are final" not in answer.text


@pytest.mark.parametrize(
    "found", [Found(("Who?", (RETURNS,)), answerable=False), Found(("Who?", ())), Found(("Who?", ()), answerable=False)]
)
async def test_an_unanswerable_question_is_refused_without_asking_the_model_or_citing(found):
    model = Says()
    answer = await answerer(found, model).answer("Who?", ASKER)
    assert answer.text == REFUSAL
    assert answer.events == ("abstained",)
    assert answer.citations == ()
    assert answer.supported is None
    assert model.calls == []


async def test_each_part_of_a_question_is_answered_from_its_own_passage():
    found = Found(("How long can kettles be returned?", (WINDOW,)), ("When do Tide Points expire?", (EXPIRY,)))
    model = Says("Kettles can be returned within 45 days.", "Tide Points expire after 20 months.")
    answer = await answerer(found, model).answer("both", ASKER)
    assert answer.text == "Kettles can be returned within 45 days. [1] Tide Points expire after 20 months. [2]"
    assert [item.document for item in answer.citations] == ["returns.md", "points.md"]
    assert answer.usage.tokens_in == 200
    assert answer.usage.tokens_cached == 160


async def test_one_unsupported_part_is_repaired_alone():
    found = Found(("How long can kettles be returned?", (WINDOW,)), ("When do Tide Points expire?", (EXPIRY,)))
    model = Says("Kettles can be returned within 45 days.", "Never, promised.")
    answer = await answerer(found, model).answer("both", ASKER)
    assert answer.text.startswith("Kettles can be returned within 45 days. [1] Tide Points expire after 20 months.")
    assert answer.events == ("unsupported", "fallback")


async def test_a_part_that_nothing_answers_is_refused_by_name_beside_the_answer_to_the_other():
    found = Found(("How long can kettles be returned?", (RETURNS,)), ("Who founded the company?", (POINTS,)))
    found.parts = (found.parts[0], replace(found.parts[1], answerable=False))
    found.answerable = False
    answer = await answerer(found, Says("Kettles can be returned within 45 days.")).answer("both", ASKER)
    assert answer.text.startswith("Kettles can be returned within 45 days. [1]")
    assert answer.text.endswith(f"Who founded the company? {REFUSAL}")
    assert answer.events == ()
    assert {item.document for item in answer.citations} == {"returns.md"}


async def test_a_shown_sentence_that_the_models_words_leave_out_is_quoted_after_them():
    both = passage("descale.md", "Descale the kettle every 8 weeks. Descale the kettle with citric acid.")
    question = "How do I descale the kettle?"
    answer = await answerer(Found((question, (both,))), Says("Descale the kettle with citric acid.")).answer(
        question, ASKER
    )
    assert answer.supported is True
    assert answer.text == "Descale the kettle with citric acid. [1] Descale the kettle every 8 weeks. [2]"
    assert answer.citations[1].quote == "Descale the kettle every 8 weeks."


async def test_what_stands_at_one_place_is_cited_once():
    sentence = "Citric acid removes lime from the kettle, while vinegar leaves a smell in rubber seals."
    question = "What removes lime from the kettle?"
    said = "Citric acid removes lime from the kettle."
    answer = await answerer(Found((question, (passage("lime.md", sentence),))), Says(said)).answer(question, ASKER)
    assert answer.text == f"{said} [1] {sentence} [1]"
    assert len(answer.citations) == 1


async def test_sentences_of_other_passages_are_quoted_with_their_own_citations():
    question = "How long can kettles be returned, and how long are points valid?"
    answer = await answerer(
        Found((question, (RETURNS, POINTS))), Says("Kettles can be returned within 45 days.")
    ).answer(question, ASKER)
    assert answer.text.startswith("Kettles can be returned within 45 days. [1]")
    assert "Tide Points expire after 20 months." in answer.text
    assert "points.md" in {item.document for item in answer.citations}


async def test_the_principal_and_the_policys_top_k_reach_retrieval():
    found = Found(("Who?", ()))
    await answerer(found, Says(), top_k=7).answer("Who?", ASKER)
    assert found.asked == [("Who?", ASKER, 7)]


async def test_decoding_and_the_lower_of_both_token_limits_reach_the_model():
    model = Says("Kettles can be returned within 45 days.")
    question = "How long can kettles be returned?"
    made = answerer(Found((question, (RETURNS,))), model, max_new_tokens=500, temperature=0.3, seed=4, stop=("\n\n",))
    await made.answer(question, ASKER)
    call = model.calls[0]
    assert (call["max_tokens"], call["temperature"], call["seed"], call["stop"]) == (48, 0.3, 4, ("\n\n",))


async def test_only_the_decisive_sentences_are_shown_to_the_model():
    model = Says("The label costs EUR 4.90.")
    question = "What is the price of the label?"
    await answerer(Found((question, (RETURNS,))), model).answer(question, ASKER)
    assert model.calls[0]["messages"][-1]["content"] == f"Text: The label costs EUR 4.90.\nQuestion: {question}"


async def test_an_engine_that_fails_is_not_papered_over():
    question = "How long can kettles be returned?"
    with pytest.raises(DeadlineError):
        await answerer(Found((question, (RETURNS,))), Says(DeadlineError("late"))).answer(question, ASKER)


async def test_every_stage_is_timed_by_the_injected_clock():
    ticks = iter(range(100))
    question = "How long can kettles be returned?"
    made = Answerer(
        Found((question, (RETURNS,))),
        Says("Kettles can be returned within 45 days."),
        PROMPT,
        AnswerSettings(),
        monotonic_s=lambda: float(next(ticks)),
    )
    timings_ms = (await made.answer(question, ASKER)).timings_ms
    assert {"embed", "retrieve", "focus", "generate", "check", "total"} == timings_ms.keys()
    assert timings_ms["generate"] == 1000.0
    assert timings_ms["total"] == 6000.0


def test_a_prompt_that_does_not_show_the_passage_cannot_answer_from_it():
    with pytest.raises(ConfigError, match=r"user lacks \{passage\}"):
        Answerer(Found(), Says(), replace(PROMPT, user="{question}"), AnswerSettings())


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        ("Who pays? The company pays.", "stop", "The company pays."),
        ("The company pays. It also of", "length", "The company pays."),
        ("It also of", "length", "It also of"),
        ("Who pays?", "stop", ""),
    ],
)
async def test_repeated_questions_and_cut_off_sentences_are_not_spoken(text, reason, expected):
    assert spoken(Generation(text, 1, 0, 1, reason)) == expected

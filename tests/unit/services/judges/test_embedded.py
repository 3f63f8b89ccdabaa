import pytest

from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.core.errors import UsageError
from shipway.evals.judgement import JudgeRequest
from shipway.evals.model import Case, Output
from shipway.rag.answerable import Coefficients
from shipway.services.judges.embedded import SUPPORT, EmbeddedJudge
from shipway.services.judges.similarity import EmbeddedSimilarity

PASSAGE = (
    "Standard delivery of a Tidewell order costs EUR 3.90 inside the European Union and is free for orders from EUR 35."
    " The app does not record sound. The courier accepts clean devices up to 12 kg."
)
OTHER = "The showroom opens at 9:00 on weekdays."
CASE = Case(id="a", question="What does standard delivery cost?", reference="Delivery costs EUR 3.90. It takes 2 days.")


def judge(**given):
    return EmbeddedJudge("embedded", HashingEmbedder(), OverlapReranker(), **given)


async def judged(answer, task="faithfulness", case=CASE, passages=(OTHER, PASSAGE), question=None):
    asked = case if question is None else Case(id="a", question=question)
    return await judge().judge(JudgeRequest(task, asked, Output(answer, passages=passages)), repeat=0)


async def test_what_the_passage_says_is_supported_by_its_sentence():
    found = await judged("Standard delivery costs EUR 3.90.")

    assert found.score == 1.0
    assert found.claims[0].evidence.startswith("Standard delivery of a Tidewell order")


@pytest.mark.parametrize(
    ("answer", "question", "said"),
    [
        ("Standard delivery costs EUR 4.90.", None, "number not in the passage: 4.9 eur"),
        ("Standard delivery of a Harborline order costs EUR 3.90.", None, "name not in the passage: Harborline"),
        ("The app records sound.", "What does the app do?", "drops a negation: The app does not record sound."),
        ("The courier does not accept clean devices.", "Which devices?", "adds a negation to: The courier accepts"),
    ],
)
async def test_a_wrong_number_name_or_negation_is_unsupported_however_near_the_words(answer, question, said):
    found = await judged(answer, question=question)

    assert found.score == 0.0
    assert found.claims[0].evidence.startswith(said)


async def test_each_sentence_counts():
    found = await judged("Standard delivery costs EUR 3.90. Express delivery arrives by helicopter tomorrow morning.")

    assert [claim.supported for claim in found.claims] == [True, False]
    assert found.score == 0.5
    assert found.reason.startswith("nearest: ")


async def test_a_passage_further_down_may_support_it():
    assert (await judged("The showroom opens at 9:00 on weekdays.", passages=(PASSAGE, PASSAGE, OTHER))).score == 1.0


async def test_questions_and_empty_words_are_no_statements():
    found = await judged("What does it cost? Yes. Standard delivery costs EUR 3.90.")

    assert [claim.text for claim in found.claims] == ["Standard delivery costs EUR 3.90."]
    assert (await judged("Yes.")).score is None


async def test_a_statement_in_the_questions_words_alone_is_not_decided():
    found = await judged("The drone cannot deliver on Sunday.", question="Can the drone deliver on Sunday?")

    assert (found.score, found.undecided) == (None, 1)


async def test_completeness_asks_what_of_the_reference_the_answer_says():
    found = await judged("Delivery costs EUR 3.90.", "completeness")

    assert [(claim.text, claim.supported) for claim in found.claims] == [
        ("Delivery costs EUR 3.90.", True),
        ("It takes 2 days.", False),
    ]


async def test_relevance_is_a_similarity_between_0_and_1():
    near = await judged("Standard delivery does cost EUR 3.90.", "relevance")
    far = await judged("Bananas grow in Ecuador.", "relevance")

    assert 0.0 <= far.score < near.score <= 1.0


@pytest.mark.parametrize(("unanswerable", "score"), [(True, 0.0), (False, 1.0)])
async def test_an_answer_that_does_not_read_as_a_refusal_is_right_where_there_is_one(unanswerable, score):
    case = Case(id="a", question="?", unanswerable=unanswerable)

    assert (await judged("It is blue.", "abstention", case)).score == score


async def test_a_rubric_takes_a_language_model():
    with pytest.raises(UsageError, match="a judge of kind embedded cannot judge by a rubric"):
        await judged("x", "rubric")


async def test_nothing_that_could_support_it_supports_nothing():
    assert (await judged("Delivery is quick.", passages=())).score == 0.0


def test_other_coefficients_are_another_judge():
    assert judge().identity == judge(support=SUPPORT).identity
    assert judge(support=Coefficients()).identity.digest != judge().identity.digest


async def test_similarity_is_1_for_equal_texts_and_embeds_each_text_once():
    class Counting(HashingEmbedder):
        seen = 0

        async def embed(self, texts):
            self.seen += len(texts)
            return await super().embed(texts)

    embedder = Counting()
    similarity = EmbeddedSimilarity(embedder)

    same, other = await similarity.similarity([("a b c", "a b c"), ("a b c", "x y z")])

    assert same == pytest.approx(1.0)
    assert -1.0 <= other < same
    assert embedder.seen == 2
    assert await similarity.similarity([]) == []
    assert similarity.digest == embedder.digest

import numpy as np
import pytest

from shipway.core.ids import Digest
from shipway.rag.focus import SentenceModels, find_evidence
from shipway.rag.model import Passage

TEXT = "Sessions end after 12 hours. The client is in the software centre. Split tunnelling is disabled."
DIGEST = Digest("sha256:" + "0" * 64)
PASSAGE = Passage(DIGEST, "vpn.md", DIGEST, "VPN", ("Access",), TEXT, 100, 100 + len(TEXT), None, 1.0)
OTHER_TEXT = "Keys are renewed yearly."
OTHER = Passage(DIGEST, "keys.md", DIGEST, "Keys", (), OTHER_TEXT, 0, len(OTHER_TEXT), None, 1.0)

pytestmark = pytest.mark.anyio


class Similarities:
    """An embedder whose vectors make the n-th sentence as similar to the question as the n-th number."""

    digest = DIGEST
    dimensions = 2

    def __init__(self, *similarities: float) -> None:
        self.similarities = similarities
        self.asked: list[str] = []

    async def embed(self, texts):
        self.asked += texts
        return np.asarray([[1.0, 0.0], *([value, 0.0] for value in self.similarities)], dtype=np.float32)


class Counts:
    """A cross-encoder that likes the last text best, and remembers what it read."""

    digest = DIGEST

    def __init__(self) -> None:
        self.read: list[str] = []

    async def score(self, question, texts):
        self.read += texts
        return np.arange(len(texts), dtype=np.float32)


def similar(*similarities: float) -> SentenceModels:
    return SentenceModels(Similarities(*similarities))


async def test_the_best_sentence_alone_is_shown_when_the_next_is_far_behind():
    evidence = await find_evidence("When?", [PASSAGE], similar(0.9, 0.1, 0.3))
    assert evidence.text == "Sessions end after 12 hours."


async def test_two_near_sentences_are_shown_in_reading_order():
    evidence = await find_evidence("Why?", [PASSAGE], similar(0.88, 0.1, 0.9))
    assert evidence.text == "Sessions end after 12 hours. Split tunnelling is disabled."


async def test_chosen_sentences_that_are_not_shown_are_related():
    evidence = await find_evidence("When?", [PASSAGE], similar(0.9, 0.1, 0.3))
    ((where, sentences),) = evidence.related
    assert where is PASSAGE
    assert [item.text for item in sentences] == ["Split tunnelling is disabled."]


async def test_offsets_point_into_the_document():
    document = "x" * 100 + TEXT
    evidence = await find_evidence("When?", [PASSAGE], similar(0.9, 0.1, 0.3))
    assert all(document[item.start : item.end] == item.text for item in evidence.ranked)


async def test_sentences_are_read_below_their_headings():
    reader = Similarities(0.9, 0.1, 0.3)
    await find_evidence("When?", [PASSAGE], SentenceModels(reader))
    assert reader.asked[1] == "VPN > Access\nSessions end after 12 hours."


async def test_a_better_sentence_of_a_later_passage_wins_and_what_is_shown_is_of_that_passage():
    evidence = await find_evidence("Why?", [PASSAGE, OTHER], similar(0.3, 0.1, 0.2, 0.9))
    assert evidence.passage is OTHER
    assert [item.text for item in evidence.ranked] == [OTHER_TEXT]
    assert evidence.text == OTHER_TEXT


async def test_among_sentences_alike_that_of_the_better_passage_is_chosen():
    better = Passage(DIGEST, "keys.md", DIGEST, "Keys", (), OTHER_TEXT, 0, len(OTHER_TEXT), None, 3.0)
    evidence = await find_evidence("Why?", [PASSAGE, better], similar(0.5, 0.1, 0.1, 0.5))
    assert evidence.passage is better


async def test_a_sentence_with_the_kind_of_fact_asked_for_beats_one_as_similar():
    evidence = await find_evidence("How long do they last?", [PASSAGE], similar(0.5, 0.1, 0.5))
    assert evidence.ranked[0].text == "Sessions end after 12 hours."


async def test_without_an_embedder_shared_words_decide():
    evidence = await find_evidence("Is split tunnelling on?", [PASSAGE], SentenceModels())
    assert evidence.text == "Split tunnelling is disabled."


async def test_the_cross_encoder_reads_only_the_sentences_that_lead_without_it():
    text = " ".join(f"This is fact {number}." for number in range(40))
    passage = Passage(DIGEST, "facts.md", DIGEST, "Facts", (), text, 0, len(text), None, 1.0)
    reader = Counts()
    models = SentenceModels(Similarities(*(1.0 - number / 100 for number in range(40))), reader)
    evidence = await find_evidence("Why?", [passage], models)
    assert [item.rpartition("fact ")[2] for item in reader.read] == [f"{number}." for number in range(12)]
    assert len(evidence.ranked) == 40


async def test_a_passage_without_sentences_is_evidence_without_text():
    empty = Passage(DIGEST, "empty.md", DIGEST, "Empty", (), " ", 0, 1, None, 1.0)
    evidence = await find_evidence("Why?", [empty], similar())
    assert evidence.passage is empty
    assert evidence.text == ""

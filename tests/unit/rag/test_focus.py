import numpy as np
import pytest

from shipway.core.ids import Digest
from shipway.rag.focus import find_evidence
from shipway.rag.model import Passage

TEXT = "Sessions end after 12 hours. The client is in the software centre. Split tunnelling is disabled."
DIGEST = Digest("sha256:" + "0" * 64)
PASSAGE = Passage(DIGEST, "vpn.md", DIGEST, "VPN", ("Access",), TEXT, 100, 100 + len(TEXT), None, 1.0)

pytestmark = pytest.mark.anyio


class Scores:
    digest = DIGEST

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[str] = []

    async def score(self, question, texts):
        self.asked += texts
        return np.asarray(self.scores, dtype=np.float32)


async def test_the_best_sentence_alone_is_shown_when_the_next_is_far_behind():
    evidence = await find_evidence("When?", PASSAGE, Scores(5.0, -4.0, 1.0))
    assert evidence.text == "Sessions end after 12 hours."
    assert [item.score for item in evidence.ranked] == [5.0, 1.0, -4.0]


async def test_two_near_sentences_are_shown_in_reading_order():
    evidence = await find_evidence("When?", PASSAGE, Scores(3.0, -4.0, 5.0))
    assert evidence.text == "Sessions end after 12 hours. Split tunnelling is disabled."


async def test_a_quote_holds_two_sentences_even_when_one_is_shown():
    evidence = await find_evidence("When?", PASSAGE, Scores(5.0, -4.0, 1.0))
    assert len(evidence.quoted) == 2


async def test_offsets_point_into_the_document():
    document = "x" * 100 + TEXT
    evidence = await find_evidence("When?", PASSAGE, Scores(5.0, -4.0, 1.0))
    assert all(document[item.start : item.end] == item.text for item in evidence.ranked)


async def test_the_cross_encoder_reads_sentences_below_their_headings():
    reader = Scores(1.0, 0.0, 0.0)
    await find_evidence("When?", PASSAGE, reader)
    assert reader.asked[0] == "VPN > Access\nSessions end after 12 hours."


async def test_without_a_cross_encoder_shared_words_decide():
    evidence = await find_evidence("Is split tunnelling on?", PASSAGE, None)
    assert evidence.text == "Split tunnelling is disabled."

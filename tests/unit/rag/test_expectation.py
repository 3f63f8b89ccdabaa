"""A question that names things is met only by a sentence with its words and the kind of fact it asks for."""

import numpy as np
import pytest

from shipway.core.ids import Digest
from shipway.rag.access import VisibleCorpus
from shipway.rag.expectation import Expectation
from shipway.rag.model import Passage

VISIBLE = VisibleCorpus(np.arange(10, dtype=np.int64), frozenset(range(10)), {}, {"heron": 2, "kettl": 5})


def met(question: str, text: str, title: str = "Heron kettle") -> float:
    passage = Passage(Digest("c"), "d", Digest("d"), title, (), text, 0, len(text), None, 0.0)
    return Expectation.of(question).met_by(passage, VISIBLE)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How many litres does the Heron hold?", "It can hold 1.7 l."),
        ("How heavy is the Heron?", "Weight: 1140 g."),
        ("What does the Heron cost?", "It is sold for EUR 39.00."),
        ("How many cups does the Heron fill?", "It can fill eight cups."),
        ("How long does the Heron boil?", "It boils for 5 min."),
        ("Does the Heron beep when full?", "The Heron gives a beep, full or not."),
        ("How fast is the price of the Heron refunded?", "The price is refunded within 5 working days."),
    ],
)
def test_the_kind_asked_for_stands_for_the_words_that_ask_for_it(question, text):
    assert met(question, text) == 1.0


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How many minutes does the Heron boil?", "The Heron can boil 1.7 litres."),
        ("How heavy is the Heron?", "The Heron is heavy."),
        ("What does the Heron cost?", "The cost of the Heron is in the catalogue."),
    ],
)
def test_a_sentence_without_the_kind_asked_for_does_not_count(question, text):
    assert met(question, text) == 0.0


def test_a_missing_word_lowers_the_share_the_more_the_rarer_it_is():
    without_rare = met("Is the Heron kettle sold in Japan?", "The Heron kettle is sold in shops.")
    without_common = met("Is the Heron kettle sold in Japan?", "Heron is sold in Japan.", title="Heron")
    assert 0.0 < without_rare < without_common < 1.0


def test_words_must_meet_in_one_sentence():
    together = met("Is the Heron silver?", "The handle is silver.")
    apart = met("Is the Heron silver and dishwasher safe?", "The lid is silver. The jug is dishwasher safe.")
    assert together == 1.0
    assert apart < 1.0


@pytest.mark.parametrize("question", ["May I cook tea in it?", "It broke. Should I weep?", "I fear I lost it"])
def test_a_question_that_names_nothing_is_never_held_to_its_words(question):
    assert met(question, "Something else.") == 1.0

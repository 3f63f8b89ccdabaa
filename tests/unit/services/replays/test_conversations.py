"""Conversations of kept texts: which turns are cases, and what a release is asked before each."""

from collections import Counter

import anyio
import pytest
from tests.served import served_request

from shipway.evals.model import Case, Output
from shipway.services.kept_texts import KeptText
from shipway.services.replays.conversations import (
    History,
    TargetInOrder,
    Turns,
    conversations,
    turns_to_ask,
)

pytestmark = pytest.mark.anyio


def kept(*conversations_, answers=True):
    """Return the texts and records of conversations, newest first; a question is `words` of a conversation."""
    texts, records = [], {}
    for name, questions in conversations_:
        for question in questions:
            number = f"{len(texts):02}"
            texts.append(KeptText(number, question, f"A to {question}" if answers else "", "chat"))
            records[number] = served_request(name, id=number, at_s=float(len(texts)), tenant="acme")
    return texts[::-1], records


def turns_of(texts, records, *, limit=100, history=History.OWN):
    left_out = Counter()
    return turns_to_ask(conversations(texts, records, [], history), limit, history, left_out), +left_out


class Target:
    """Answers with what it was asked; `fails` are questions that have no answer."""

    name, digest = "rel_a", "rel_a"

    def __init__(self, fails=()):
        self.asked = []
        self.fails = set(fails)

    async def ask(self, case, *, repeat):
        self.asked.append((case.question, [message["content"] for message in case.messages], repeat))
        await anyio.sleep(0)
        return Output(error="no engine") if case.question in self.fails else Output(f"own {case.question}")


def test_the_turns_of_a_conversation_are_cases_in_the_order_in_which_they_were_asked():
    found, left_out = turns_of(*kept(("c1", ["hello", "and then"]), ("c2", ["other"])))

    assert [case.question for case in found.cases] == ["other", "hello", "and then"]
    assert [case.metadata.get("turn") for case in found.cases] == [None, None, 2]
    assert found.before == {"replay-01": "replay-00"}
    assert found.cases[1].cluster == found.cases[2].cluster != found.cases[0].cluster
    assert not left_out


def test_equal_words_after_other_words_are_another_question_and_common_beginnings_are_asked_once():
    texts, records = kept(("c1", ["hello", "thanks"]), ("c2", ["bye", "thanks"]), ("c3", ["Hello!", "why"]))

    found, left_out = turns_of(texts, records)

    assert sorted(case.question for case in found.cases) == ["Hello!", "bye", "thanks", "thanks", "why"]
    shared = next(case for case in found.cases if case.question == "Hello!")
    assert shared.metadata["times"] == 2
    assert list(found.before.values()).count(shared.id) == 2
    assert left_out == {"asked before": 1}


def test_the_limit_cuts_a_conversation_behind_its_first_turns():
    found, left_out = turns_of(*kept(("c1", ["a", "b", "c"]), ("c2", ["d"])), limit=2)

    assert [case.question for case in found.cases] == ["d", "a"]
    assert left_out == {"older than --limit": 2}


def test_without_history_every_question_stands_alone():
    found, left_out = turns_of(*kept(("c1", ["a", "b"]), ("c2", ["b"])), history=History.NONE)

    assert [case.question for case in found.cases] == ["b", "a"]
    assert found.before == {}
    assert not any("turn" in case.metadata or case.messages for case in found.cases)
    assert left_out == {"asked before": 1}


def test_recorded_answers_stand_before_later_turns_as_far_as_they_were_kept():
    texts, records = kept(("c1", ["a", "b", "c"]))
    said = [("user", "a"), ("assistant", "A to a"), ("user", "b"), ("assistant", "A to b")]

    whole, _ = turns_of(texts, records, history=History.RECORDED)
    unanswered, left_out = turns_of(*kept(("c1", ["a", "b", "c"]), answers=False), history=History.RECORDED)

    assert [(message["role"], message["content"]) for message in whole.cases[-1].messages] == said
    assert whole.before == {}
    assert [case.question for case in unanswered.cases] == ["a"]
    assert left_out == {"after an answer that was not kept": 2}


def test_a_request_that_was_kept_twice_is_one_turn_with_its_answer():
    texts, records = kept(("c1", ["a", "b"]))
    lines = [KeptText(text.request_id, text.question) for text in texts]

    [turns] = conversations([*lines, *texts], records, [], History.OWN)

    assert [(turn.text.question, turn.text.answer) for turn in turns] == [("a", "A to a"), ("b", "A to b")]


def test_lines_without_records_say_themselves_to_which_conversation_they_belong():
    lines = [KeptText(f"line-{n}", question, conversation=name) for n, (name, question) in enumerate(
        [("x", "third"), ("", "alone"), ("x", "second"), ("x", "first")]
    )]  # fmt: skip

    found = conversations(lines, {}, [], History.OWN)

    assert [[turn.text.question for turn in turns] for turns in found] == [["first", "second", "third"], ["alone"]]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
async def test_a_turn_is_asked_once_after_those_before_it_with_the_releases_own_answers(order):
    found, _ = turns_of(*kept(("c1", ["a", "b", "c"])))
    target = Target()
    in_order = TargetInOrder(target, found)

    async with anyio.create_task_group() as group:
        answers = {}

        async def ask(place):
            answers[place] = (await in_order.ask(found.cases[place], repeat=1)).answer

        for place in order:
            group.start_soon(ask, place)

    assert answers == {0: "own a", 1: "own b", 2: "own c"}
    assert target.asked == [
        ("a", [], 1),
        ("b", ["a", "own a"], 1),
        ("c", ["a", "own a", "b", "own b"], 1),
    ]


async def test_repeats_are_conversations_of_their_own():
    found, _ = turns_of(*kept(("c1", ["a", "b"])))
    target = Target()
    in_order = TargetInOrder(target, found)

    for repeat in (0, 1):
        await in_order.ask(found.cases[1], repeat=repeat)

    assert [(question, repeat) for question, _, repeat in target.asked] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


async def test_what_follows_a_turn_without_an_answer_is_an_error_that_names_it_and_is_not_asked():
    found, _ = turns_of(*kept(("c1", ["a", "b", "c"])))
    target = Target(fails=["b"])
    in_order = TargetInOrder(target, found)

    output = await in_order.ask(found.cases[2], repeat=0)

    assert output.error == "turn 2 of the conversation: no engine"
    assert [question for question, _, _ in target.asked] == ["a", "b"]
    target.fails.clear()
    assert (await in_order.ask(found.cases[2], repeat=0)).answer == "own c"
    assert [question for question, _, _ in target.asked] == ["a", "b", "b", "c"]


async def test_a_case_of_no_conversation_is_passed_on():
    case = Case("alone", "q", messages=({"role": "user", "content": "before"},))
    target = Target()

    await TargetInOrder(target, Turns((case,))).ask(case, repeat=0)

    assert target.asked == [("q", ["before"], 0)]

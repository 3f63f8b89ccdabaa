from collections import Counter

import pytest

from shipway.core.errors import UsageError
from shipway.evals.labels import Label
from shipway.evals.model import Case, Output
from shipway.services.labelling import (
    UNDONE,
    Item,
    Labelling,
    chosen,
    open_items,
    shown,
    tasks_without_passages,
)


def item(number=0, score=None, **output):
    case = Case(id=f"c{number}", question="Q?", reference="R.")
    return Item(case, Output(f"answer {number}", **output), score)


def pressed(state, keys):
    written = []
    for at_s, key in enumerate(keys):
        state, label = state.press(key, float(at_s))
        written += [label] if label else []
    return state, written


START = Labelling((item(0), item(1), item(2)), "relevance", "ann")


def test_each_key_is_a_label_or_a_move():
    state, written = pressed(START, "ync")

    assert state.current is None
    assert written == [
        Label(f"c{i}", f"answer {i}", "relevance", value, "ann", float(i)) for i, value in enumerate((1, 0, None))
    ]


def test_skipping_writes_nothing_and_goes_on():
    state, written = pressed(START, "sy")

    assert [label.case for label in written] == ["c1"]
    assert state.current.case.id == "c2"


def test_quitting_ends_it():
    state, written = pressed(START, "yq")

    assert state.current is None
    assert len(written) == 1


def test_undoing_withdraws_the_last_label_and_shows_its_answer_again():
    state, written = pressed(START, "ysnu")

    assert state.current.case.id == "c2"
    assert (written[-1].case, written[-1].label, written[-1].note) == ("c2", None, UNDONE)
    state, more = pressed(state, "u")
    assert state.current.case.id == "c0"
    assert more[0].case == "c0"
    assert state.given == ()


@pytest.mark.parametrize(
    ("key", "said"), [("x", "'x' is no answer; there are y yes"), ("", "is no answer"), ("u", "nothing to undo")]
)
def test_a_key_that_means_nothing_is_told(key, said):
    with pytest.raises(UsageError, match=said):
        START.press(key, 0.0)


def test_a_label_carries_what_was_shown():
    state = Labelling((item(passages=("p",), citations=("d",)),), "faithfulness", "ann")

    _, label = state.press("y", 1.0, "because")

    assert (label.passages, label.citations, label.note) == (("p",), ("d",), "because")


def test_answers_are_drawn_evenly_over_their_scores_and_the_order_says_nothing():
    items = [item(i, 1.0) for i in range(90)] + [item(90 + i, 0.0) for i in range(10)]

    drawn = chosen(items, 20, seed=1)

    assert Counter(found.score for found in drawn) == {1.0: 10, 0.0: 10}
    assert [found.score for found in drawn] != sorted(found.score for found in drawn)
    assert chosen(items, 20, seed=1) == drawn
    assert len(chosen(items, 500)) == 100


def test_what_a_person_has_labelled_is_not_shown_again_but_what_was_undone_is():
    def told(number, by="ann", task="relevance", note=""):
        return Label(f"c{number}", f"answer {number}", task, 1, by, note=note)

    labels = [told(0), told(1, by="bob"), told(2, note=UNDONE), told(3, task="rubric")]
    items = [*(item(i) for i in range(4)), item(1)]

    found = open_items(items, labels, task="relevance", by="ann")

    assert [one.case.id for one in found] == ["c1", "c2", "c3"]


def test_nothing_of_the_score_is_shown_and_nothing_steers_the_terminal():
    hostile = Item(Case(id="a", question="Q?"), Output("\x1b[2Jgone\u202e\nsecond", passages=("p",)), 0.123)

    lines = shown(hostile, "faithfulness")

    assert lines == ["question:", "  Q?", "passages:", "  p", "answer:", "  \ufffd[2Jgone\ufffd", "  second"]


def test_a_task_that_needs_passages_is_told_apart():
    assert tasks_without_passages([item()], "faithfulness")
    assert not tasks_without_passages([item(passages=("p",))], "faithfulness")
    assert not tasks_without_passages([item()], "completeness")

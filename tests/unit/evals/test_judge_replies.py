import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import JudgeReplyError
from shipway.evals.judge_replies import REPLY_SCHEMAS, parse_reply

GOOD = '{"pass": true, "score": 0.8, "reason": "all of it"}'


def claims(supported):
    return {"claims": [{"text": f"s{i}", "supported": value} for i, value in enumerate(supported)]}


def test_a_score_is_read():
    found = parse_reply(GOOD, "relevance")

    assert (found.task, found.score, found.reason) == ("relevance", 0.8, "all of it")


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```", f"  \n```JSON\n{GOOD}\n```\n"])
def test_one_fence_may_enclose_it(text):
    assert parse_reply(text, "relevance").score == 0.8


def test_claims_are_counted_here_and_what_is_undecided_counts_nowhere():
    found = parse_reply(json.dumps(claims([True, False, None, True])), "faithfulness")

    assert found.score == pytest.approx(2 / 3)
    assert found.undecided == 1
    assert [claim.supported for claim in found.claims] == [True, False, None, True]


@pytest.mark.parametrize("body", [claims([]), claims([None, None])])
def test_no_decided_claim_is_not_applicable_and_neither_1_nor_0(body):
    assert parse_reply(json.dumps(body), "faithfulness").score is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "replied with nothing"),
        ("The answer is good, I give it 0.9.", "not one JSON object (Expecting value): 'The answer is good, I give"),
        (f"Sure! {GOOD}", "not one JSON object"),
        (f"{GOOD} I hope this helps.", "not one JSON object (Extra data)"),
        (f"```json\n{GOOD}\n```\nI hope this helps.", "not one JSON object"),
        (f"{GOOD}\n{GOOD}", "not one JSON object (Extra data)"),
        (f"[{GOOD}]", "is a JSON list, not an object"),
        ("0.9", "is a JSON float, not an object"),
        ('{"pass": true, "score": 0.8', "not one JSON object"),
        ('{"pass": true, "score": 0}', "contradicts itself: pass is true and score 0"),
        ('{"pass": false, "score": 0.5}', "contradicts itself: pass is false and score 0.5"),
        ('{"reason": "fine"}', '"score" is a required property'),
        ('{"pass": true}', '"score" is a required property'),
        ('{"score": 0.8}', '"pass" is a required property'),
        ('{"pass": true, "score": 8}', "score: 8 is greater than the maximum of 1"),
        ('{"pass": false, "score": -0.1}', "score: -0.1 is less than the minimum of 0"),
        ('{"pass": true, "score": "0.8"}', "score: "),
        ('{"pass": true, "score": true}', "score: "),
        ('{"pass": true, "score": null}', "score: "),
        ('{"pass": true, "score": NaN}', "holds NaN, which is no score"),
        ('{"pass": true, "score": Infinity}', "holds Infinity, which is no score"),
        ('{"pass": true, "score": 1e999}', "holds 1e999, which is no score"),
        ('{"pass": true, "score": 0.9, "score": 0.1}', "has 'score' twice"),
        ('{"pass": true, "score": 0.9, "verdict": "good"}', "verdict"),
        ('{"pass": true, "score": 0.9, "reason": "\\ud800"}', "holds what is not Unicode"),
        ('{"pass": true, "score": ' + "9" * 5000 + "}", "not one JSON object"),
        ('{"reason": ' + "[" * 100 + "]" * 100 + "}", "nested more than 64 levels deep"),
        ("[" * 100_000, "not one JSON object"),
        (" " * 99_999 + "{}", "more than 100000"),
    ],
)
def test_anything_else_is_an_error_with_what_was_said(text, said):
    with pytest.raises(JudgeReplyError) as caught:
        parse_reply(text, "relevance")

    assert said in caught.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**claims([True, False]), "score": 1}, "contradicts itself: score 1, but 0.5 of its statements are supported"),
        ({**claims([False]), "pass": True, "score": 0}, "contradicts itself: pass is true and score 0"),
        ({**claims([None]), "score": 1}, "scores an answer of which it decided no statement"),
        ({"claims": [{"text": "", "supported": True}]}, "claims.0.text"),
        ({"claims": [{"text": "a", "supported": "yes"}]}, "claims.0.supported"),
        ({"claims": [{"text": "a"}]}, '"supported" is a required property'),
        (claims([True] * 101), "has more than 100 items"),
        ({"score": 1, "pass": True}, '"claims" is a required property'),
    ],
)
def test_statements_that_contradict_or_have_another_form_are_an_error(body, said):
    with pytest.raises(JudgeReplyError) as caught:
        parse_reply(json.dumps(body), "faithfulness")

    assert said in caught.value.message


def test_a_score_beside_the_statements_may_be_rounded():
    assert parse_reply(json.dumps({**claims([True, True, False]), "score": 0.67}), "citation").score == pytest.approx(
        2 / 3
    )


def test_a_pass_alone_beside_the_statements_must_agree_with_them():
    with pytest.raises(JudgeReplyError, match="contradicts itself"):
        parse_reply(json.dumps({**claims([False]), "pass": True}), "faithfulness")


def test_what_is_shown_of_a_reply_is_short_and_on_one_line():
    with pytest.raises(JudgeReplyError) as caught:
        parse_reply("No.\n\x1b[31mred " * 100, "relevance")

    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["claims", "score", "pass", "text"]), inner),
)


@given(
    st.text() | JSON.map(json.dumps) | st.binary().map(lambda data: data.decode("latin-1")),
    st.sampled_from(list(REPLY_SCHEMAS)),
)
def test_no_reply_gets_past_but_a_judgement_or_an_error(text, task):
    try:
        found = parse_reply(text, task)
    except JudgeReplyError:
        return
    assert found.score is None or 0 <= found.score <= 1


@given(
    st.booleans(),
    st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text()),
    st.dictionaries(st.text(), st.text(), max_size=1),
)
def test_a_score_counts_only_when_it_is_one_and_pass_agrees(passes, score, extra):
    text = json.dumps({**extra, "pass": passes, "score": score})
    right = not isinstance(score, bool) and isinstance(score, int | float) and 0 <= score <= 1
    right = right and passes == (score >= 0.5) and not extra.keys() - {"pass", "score", "reason"}
    try:
        found = parse_reply(text, "rubric")
    except JudgeReplyError:
        assert not right
    else:
        assert right
        assert found.score == score

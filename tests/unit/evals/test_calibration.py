import pytest

from shipway.core.canonical import digest_json
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.calibration import anchors_of, calibrate, check_anchors, judge_digest, judge_label
from shipway.evals.judgement import JudgeIdentity, Judgement
from shipway.evals.labels import Anchor, Label

JUDGE = JudgeIdentity("strict", digest_json("judge"))


def labels(values, task="relevance"):
    return [Label(f"c{i}", f"answer {i}", task, value) for i, value in enumerate(values)]


def opinions(values, task="relevance"):
    return [value if isinstance(value, str) else Judgement(task, value) for value in values]


def anchors(people, then=None):
    return [Anchor(label, said, JUDGE.digest) for label, said in zip(labels(people), then or people, strict=True)]


def checked(kept, now, identity=JUDGE, max_drift=0.1):
    return check_anchors(kept, opinions(now), identity, max_drift=max_drift, min_kappa=0.4)


PEOPLE = [1] * 20 + [0] * 20
SAME = [1.0] * 20 + [0.0] * 20


@pytest.mark.parametrize(
    ("judgement", "label"),
    [
        (Judgement("relevance", 0.5), 1),
        (Judgement("relevance", 0.49), 0),
        (Judgement("faithfulness", 0.9), 0),
        (Judgement("faithfulness", 1.0), 1),
        (Judgement("faithfulness", None), None),
        (Judgement("relevance", 0.5, votes=(1.0, 0.0)), None),
        (Judgement("relevance", 0.4, votes=(1.0, 0.1, 0.1)), 0),
        (Judgement("faithfulness", 0.95, votes=(1.0, 1.0, 0.85)), 1),
    ],
)
def test_a_judgement_amounts_to_a_label(judgement, label):
    assert judge_label(judgement) == label


def test_agreement_is_told_with_its_counts():
    people = [1] * 10 + [0] * 10 + [1, 0, None]
    judged = opinions([1.0] * 8 + [0.0] * 2 + [0.0] * 9 + [1.0] + [None, "JudgeReplyError: prose", 1.0])

    (found,) = calibrate(labels(people), judged)

    assert (found.task, found.n, found.undecided, found.failed) == ("relevance", 20, 1, 1)
    assert (found.q1, found.q0) == (0.8, 0.9)
    assert found.kappa == pytest.approx(0.7)
    assert found.kappa_interval[0] < 0.7 < found.kappa_interval[1]
    assert found.q1_interval[0] < 0.8 < found.q1_interval[1]
    assert found.reasons == ("JudgeReplyError: prose",)
    assert found.corrected(0.45, 100).rate == pytest.approx(0.5)


def test_each_task_is_calibrated_on_its_own():
    both = labels([1, 0], "relevance") + labels([0, 1], "rubric")

    found = calibrate(both, opinions([1.0, 0.0]) + opinions([1.0, 0.0], "rubric"))

    assert [(item.task, item.kappa) for item in found] == [("relevance", 1.0), ("rubric", -1.0)]


@pytest.mark.parametrize(
    ("people", "judged", "verdict"),
    [
        (PEOPLE, SAME, Verdict.PASS),
        (PEOPLE, [1.0, 0.0] * 20, Verdict.FAIL),
        ([1] * 40, [1.0] * 40, Verdict.NO_DATA),
        (PEOPLE, [None] * 40, Verdict.NO_DATA),
        (PEOPLE, ["prose", *SAME[1:]], Verdict.ERROR),
    ],
)
def test_the_verdict_on_a_judge(people, judged, verdict):
    (found,) = calibrate(labels(people), opinions(judged))

    assert found.verdict(0.4) is verdict


def test_a_judge_that_is_no_better_than_chance_corrects_no_rate():
    (found,) = calibrate(labels(PEOPLE), opinions([1.0, 0.0] * 20))

    with pytest.raises(
        UsageError, match="relevance: a judged rate cannot be corrected: the judge is no better than chance"
    ):
        found.corrected(0.5, 100)


def test_a_judge_that_says_the_same_as_before_passes():
    found = checked(anchors(PEOPLE), SAME)

    assert (found.verdict, found.changed, found.p_value, found.kappa) == (Verdict.PASS, 0, 1.0, 1.0)
    assert (found.message, found.drift) == ("0 of 40 labels changed", "")


def test_a_drifting_judge_blocks_the_gate():
    # Eight of the right answers are called wrong now.
    found = checked(anchors(PEOPLE), [0.0] * 8 + SAME[8:], max_drift=0.5)

    assert found.verdict is Verdict.ERROR
    assert found.drift == "labels shift in one direction: 8 from 1 to 0, 0 from 0 to 1 (p = 0.0078)"


def test_labels_that_change_to_and_fro_block_when_they_are_too_many():
    now = [0.0] * 3 + SAME[3:-3] + [1.0] * 3

    assert checked(anchors(PEOPLE), now).message == "6 of 40 labels changed, more than 10%"
    assert checked(anchors(PEOPLE), now, max_drift=0.2).verdict is Verdict.PASS


def test_anchors_that_cannot_be_judged_any_more_are_changed():
    found = checked(anchors(PEOPLE), ["UnavailableError: nobody there"] * 40)

    assert found.verdict is Verdict.ERROR
    assert (
        "40 of 40 labels changed, more than 10% (40 could not be judged: UnavailableError: nobody there)"
        in found.message
    )


def test_an_anchor_that_was_undecided_and_fails_now_is_changed_too():
    kept = anchors(PEOPLE, [None] * 40)

    assert checked(kept, ["prose"] * 40).changed == 40
    assert checked(kept, [None] * 40).changed == 0


def test_a_judge_that_never_agreed_with_people_blocks_though_it_did_not_change():
    kept = anchors(PEOPLE, [0] * 20 + [1] * 20)

    found = checked(kept, [0.0] * 20 + [1.0] * 20)

    assert found.verdict is Verdict.ERROR
    assert found.message == "relevance: agreement with people is -1.00, below 0.4"


def test_another_judge_than_the_anchors_is_told_by_its_digest():
    other = JudgeIdentity("strict", digest_json("another"))

    found = checked(anchors(PEOPLE), SAME, other)

    assert found.verdict is Verdict.ERROR
    assert JUDGE.digest in found.message
    assert other.digest in found.message
    assert "shipway judge calibrate strict --labels FILE --write-anchors FILE" in found.message


def test_no_anchors_hold_nobody():
    assert checked([], []).verdict is Verdict.ERROR


def test_anchors_are_what_people_and_the_judge_had_a_word_on():
    found = anchors_of(labels([1, 0, None, 1]), opinions([0.9, 0.8, 1.0, "prose"]), JUDGE)

    assert [(item.label.case, item.label.label, item.judge_label) for item in found] == [("c0", 1, 1), ("c1", 0, 1)]
    assert {item.judge_digest for item in found} == {JUDGE.digest}


def test_the_judge_of_a_binding_is_the_judge_and_its_anchors():
    kept = anchors(PEOPLE)

    assert judge_digest(JUDGE) == judge_digest(JudgeIdentity("another name", JUDGE.digest))
    assert len({judge_digest(JUDGE), judge_digest(JUDGE, kept), judge_digest(JUDGE, kept[1:])}) == 3


def test_labels_of_one_kind_say_why_they_tell_nothing():
    (found,) = calibrate(labels([1] * 12), opinions([1.0] * 12))

    assert found.verdict(0.6) is Verdict.NO_DATA
    assert found.lacking == (
        "relevance: people and judge call all 12 answers right, so that agreement cannot be told from chance;"
        " label answers of the other kind as well"
    )
    assert calibrate(labels(PEOPLE), opinions(SAME))[0].lacking == ""
    assert calibrate(labels([1]), opinions(["prose"]))[0].lacking == "relevance: no label has a judgement beside it"

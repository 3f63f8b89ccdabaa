import pytest

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.reviews import read_reviews, review_findings

ASPECTS = ("tone", "culture")


def row(reviewer="ana", release="rel_1", note="", **aspects):
    return {"release": release, "reviewer": reviewer, "aspects": aspects, "note": note}


def verdicts(*rows, reviewers=1):
    found = review_findings(read_reviews(list(rows), "reviews.yaml"), "rel_1", ASPECTS, reviewers)
    return {item.name: item.verdict for item in found}


def test_an_aspect_that_enough_people_found_good_passes():
    assert verdicts(row(tone=True, culture=True)) == {"tone": Verdict.PASS, "culture": Verdict.PASS}


def test_one_person_who_says_it_twice_is_one_person():
    assert verdicts(row(tone=True), row(tone=True), reviewers=2)["tone"] is Verdict.NO_DATA
    assert verdicts(row(tone=True), row("bo", tone=True), reviewers=2)["tone"] is Verdict.PASS


def test_what_nobody_looked_at_is_not_checked():
    (tone, culture) = review_findings(read_reviews([row(tone=True)], "f"), "rel_1", ASPECTS, 1)
    assert (tone.verdict, culture.verdict) == (Verdict.PASS, Verdict.NO_DATA)
    assert culture.message == "NOT CHECKED: 0 of 1 people have looked at it in rel_1"


def test_one_who_objects_fails_it_whatever_others_say():
    found = list(
        review_findings(read_reviews([row(tone=True), row("bo", tone=False, note="rude")], "f"), "rel_1", ("tone",), 1)
    )
    assert (found[0].verdict, found[0].message) == (Verdict.FAIL, "bo objects: rude")


def test_the_last_word_of_a_person_counts():
    assert verdicts(row(tone=False), row(tone=True))["tone"] is Verdict.PASS


def test_a_review_of_another_release_says_nothing():
    assert verdicts(row(release="rel_2", tone=True))["tone"] is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "reviews is not a list"),
        ([3], "review 1 is not a mapping"),
        ([{"reviewer": "a", "aspects": {}}], "release is missing"),
        ([{"release": "r", "reviewer": " ", "aspects": {}}], "reviewer is missing"),
        ([row(tone="yes")], "aspects is not a mapping"),
        ([row() | {"verdict": "PASS"}], "unknown key 'verdict'"),
    ],
)
def test_what_is_no_review_is_refused_with_its_number(rows, said):
    with pytest.raises(UsageError, match=said):
        read_reviews(rows, "reviews.yaml")

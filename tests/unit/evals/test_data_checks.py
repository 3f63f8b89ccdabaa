"""Every rule of the dataset check: one dataset on which it speaks and one on which it is silent."""

import json

import numpy as np
import pytest

from shipway.config.sections.datasets import DatasetChecks
from shipway.core.personal_data import PiiHit
from shipway.core.verdicts import Verdict
from shipway.evals.data_checks import RULES, CheckParts, Previous, check_dataset, verdict_of, warnings_of
from shipway.evals.data_leakage import CheckSources
from shipway.evals.data_shift import Look
from shipway.evals.dataset import read_dataset

TOPICS = ["kettle", "grinder", "filter", "lantern", "stove", "mug", "teapot"]
TOPICS += ["cable", "lid", "pump", "hose", "scale", "timer", "brush"]
VERBS = ["return", "repair", "descale", "order", "clean", "replace", "open", "store"]


class Digits:
    """Takes any digit for a telephone number."""

    def find(self, text):
        return [PiiHit("phone", at, at + 1) for at, character in enumerate(text) if character.isdigit()]


def case(number, **fields):
    topic, verb = TOPICS[number % len(TOPICS)], VERBS[number // len(TOPICS)]
    return {
        "id": f"c{number}",
        "question": f"May I {verb} the {topic} that my aunt gave me last week?",
        "reference": f"Yes, {verb} it.",
        "cluster": topic,
        **fields,
    }


def rows(*changed, count=28):
    """Return cases of which the last ones are changed."""
    plain = [case(number) for number in range(count - len(changed))]
    return plain + [{**case(count - len(changed) + place), **fields} for place, fields in enumerate(changed)]


def read(found):
    return read_dataset("\n".join(map(json.dumps, found)).encode(), "cases.jsonl")


def spoken(found, *, parts=None, **settings):
    """Return what the check says beyond that a rule passed."""
    report = check_dataset(read(found), DatasetChecks(**settings), parts or CheckParts())
    return [item for item in report.findings if item.verdict is not Verdict.NO_DATA and item.message]


def only(found, rule, **more):
    (item,) = spoken(found, **more)
    assert (item.name, item.rule, item.suite) == (rule, f"dataset/{rule}", "dataset")
    return item


def test_a_good_dataset_passes_every_rule():
    report = check_dataset(read(rows()), DatasetChecks(), CheckParts())
    assert {item.name for item in report.findings} == set(RULES)
    assert verdict_of(report) is Verdict.PASS
    skipped = {item.name for item in report.findings if item.verdict is Verdict.NO_DATA}
    assert skipped == {name for name in RULES if name.startswith("leakage") or name.endswith("shift")} | {"pii"}


def test_too_few_cases_fail():
    item = only(rows(), "size", min_cases=40)
    assert (item.verdict, item.message) == (Verdict.FAIL, "28 cases; checks.min_cases asks for 40")
    assert spoken(rows(), min_cases=28) == []


def test_too_few_unanswerable_cases_fail():
    assert "0 unanswerable cases" in only(rows(), "unanswerable-quota", min_unanswerable=1).message
    assert spoken(rows({"unanswerable": True, "reference": None}), min_unanswerable=1) == []


@pytest.mark.parametrize("text", ["N/A", "  ", "TODO", "nan", ""])
def test_a_reference_that_stands_for_nothing_fails(text):
    item = only(rows({"reference": text, "must_contain": ["x"]}), "null")
    assert item.verdict is Verdict.FAIL
    assert item.location == "cases.jsonl:28"
    assert item.message.startswith("reference: ")


def test_a_case_without_any_expectation_is_a_warning():
    item = only(rows({"reference": None}), "nothing-to-judge")
    assert (item.verdict, item.details["level"]) == (Verdict.PASS, "warning")
    assert spoken(rows({"reference": None, "unanswerable": True})) == []
    assert spoken(rows({"reference": None, "assert": [{"type": "refusal"}]})) == []


def test_the_same_question_twice_fails_and_names_the_other():
    item = only(rows({"question": "MAY I return the “kettle” that my aunt gave me last week"}), "duplicate")
    assert (item.verdict, item.case_id, item.location) == (Verdict.FAIL, "c27", "cases.jsonl:28")
    assert item.message == "asks the same as 'c0'; keep one"


def test_the_same_question_with_another_expectation_is_said():
    item = only(rows({"question": case(0)["question"], "must_contain": ["no"]}), "duplicate")
    assert item.message == "asks the same as, but expects something else than, 'c0'; keep one"


@pytest.mark.parametrize(
    "fields",
    [{"tenant": "other"}, {"groups": ["staff"]}, {"messages": [{"role": "user", "content": "I live in Spain."}]}],
    ids=["tenant", "groups", "turns before"],
)
def test_the_same_question_of_another_asker_is_another_question(fields):
    assert spoken(rows({"question": case(0)["question"], **fields})) == []


def test_a_near_duplicate_in_another_cluster_fails():
    near = case(0)["question"].replace("last week", "last week again")
    item = only(rows({"question": near}), "near-duplicate", near_duplicate=0.7)
    assert item.verdict is Verdict.FAIL
    assert "% of its wording with 'c0', which counts as independent of it" in item.message
    assert spoken(rows({"question": near}), near_duplicate=0.95) == []


def test_a_near_duplicate_in_the_same_cluster_is_a_warning():
    near = case(0)["question"].replace("last week", "last week again")
    item = only(rows({"question": near, "cluster": "kettle"}), "near-duplicate", near_duplicate=0.7)
    assert item.verdict is Verdict.PASS
    assert "in the same cluster" in item.message


def test_a_near_duplicate_across_the_splits_fails_in_any_cluster():
    near = {"question": case(0)["question"].replace("last week", "last week again"), "cluster": "kettle"}
    found = spoken(rows({**near, "split": "calibration"}), near_duplicate=0.7)
    by_rule = {item.name: item for item in found}
    assert by_rule["near-duplicate"].verdict is Verdict.FAIL
    assert "of split 'test': what tunes must not judge" in by_rule["near-duplicate"].message


def test_a_cluster_in_both_splits_is_a_warning():
    item = only(rows({"split": "calibration"}), "split")
    assert item.message.startswith("1 cluster with cases of both splits (brush)")
    assert spoken(rows({"split": "calibration", "cluster": "only here"})) == []


def test_a_cluster_that_decides_alone_is_a_warning():
    item = only(rows(*[{"cluster": "kettle"}] * 12), "cluster-size")
    assert "holds 14 of 28 test cases" in item.message
    assert item.verdict is Verdict.PASS


def test_fewer_clusters_than_a_paired_gate_needs_are_a_warning():
    assert "8 clusters of test cases" in only(rows(count=8), "cluster-size").message


def test_a_question_in_a_prompt_fails():
    sources = CheckSources(prompts={"prompts/a.yaml": f"Be kind. Example: {case(3)['question']} Yes."})
    item = only(rows(), "leakage-prompt", parts=CheckParts(sources))
    assert (item.verdict, item.case_id, item.details["part"]) == (Verdict.FAIL, "c3", "question")
    assert "100% of its wording stands in prompts/a.yaml" in item.message


def test_a_right_answer_in_an_example_fails():
    answer = "A kettle goes back within 45 days of delivery."
    sources = CheckSources(few_shots={"prompts/a.yaml": ["Anything?", f"Sure: {answer.lower()}"]})
    item = only(rows({"reference": answer}), "leakage-few-shot", parts=CheckParts(sources))
    assert item.details["part"] == "reference"


def test_short_answers_and_shared_phrases_have_not_leaked():
    sources = CheckSources({"p": "45 days. May I return the"}, {"p": ["Yes, return it."]}, [("d", "45 days")])
    assert spoken(rows({"reference": "45 days"}), parts=CheckParts(sources)) == []


def test_a_question_that_stands_in_a_document_fails_unless_it_may():
    documents = [("docs/faq.md", f"# FAQ\n\n## {case(5)['question'].upper()}\n\nYes.")]
    parts = CheckParts(CheckSources(documents=documents))
    item = only(rows(), "leakage-corpus-question", parts=parts)
    assert (item.verdict, item.case_id) == (Verdict.FAIL, "c5")
    assert "word for word in docs/faq.md" in item.message
    assert only(rows(), "leakage-corpus-question", parts=parts, corpus_leakage="warn").verdict is Verdict.PASS
    assert spoken(rows(), parts=parts, corpus_leakage="off") == []


def test_a_right_answer_in_a_document_is_the_point_of_retrieval():
    answer = "A kettle goes back within 45 days of delivery."
    parts = CheckParts(CheckSources(documents=[("docs/returns.md", answer)]))
    assert spoken(rows({"reference": answer}), parts=parts) == []


def test_a_document_that_cannot_be_read_is_an_error():
    parts = CheckParts(CheckSources(), unreadable={"docs/x.pdf": "not a PDF"})
    report = check_dataset(read(rows()), DatasetChecks(), parts)
    assert verdict_of(report) is Verdict.ERROR


def test_personal_data_is_told_without_repeating_it():
    found = rows({"variables": {"who": {"phone": "0123"}}})
    item = only(found, "pii", parts=CheckParts(pii=Digits()))
    assert (item.verdict, item.message) == (Verdict.PASS, "variables: holds what looks like personal data (phone)")
    assert only(found, "pii", parts=CheckParts(pii=Digits()), pii="fail").verdict is Verdict.FAIL
    assert spoken(found, parts=CheckParts(pii=Digits()), pii="off") == []
    assert spoken(rows(), parts=CheckParts(pii=Digits())) == []


def against(before, *, language_of=lambda _: "en", vectors=None):
    return CheckParts(previous=Previous(read(before).dataset, "faq@1", Look(language_of, vectors)))


def test_longer_questions_than_before_fail():
    longer = [{**row, "question": row["question"] + " It was a gift and I lost the bill."} for row in rows(count=60)]
    item = only(longer, "length-shift", parts=against(rows(count=60)))
    assert item.verdict is Verdict.FAIL
    assert item.message.startswith(
        "another length than in faq@1: a question has 12 words in the middle before and 21 now"
    )


def test_other_languages_than_before_fail():
    changed = [{**row, "question": row["question"].replace("May I", "Darf ich")} for row in rows(count=60)]
    parts = against(rows(count=60), language_of=lambda text: "de" if "Darf" in text else "en")
    assert "0% before and 100% now" in only(changed, "language-shift", parts=parts).message


def test_other_topics_than_before_fail():
    vectors = (np.tile([[1.0, 0.0]], (60, 1)), np.tile([[0.0, 1.0]], (60, 1)))
    changed = rows({"reference": "No."}, count=60)
    parts = against(rows(count=60), vectors=vectors)
    assert "the cosine of the mean questions is 0.00" in only(changed, "topic-shift", parts=parts).message


def test_a_version_that_differs_by_chance_passes():
    rng = np.random.default_rng(5)
    vectors = (rng.normal(size=(60, 4)), rng.normal(size=(60, 4)))
    assert spoken(rows({"reference": "No."}, count=60), parts=against(rows(count=60), vectors=vectors)) == []


@pytest.mark.parametrize(("count", "reason"), [(10, "fewer than 20 cases on a side"), (60, "the cases are those of")])
def test_what_cannot_be_compared_is_no_data(count, reason):
    report = check_dataset(read(rows(count=60)), DatasetChecks(), against(rows(count=count)))
    (found,) = {item.message for item in report.findings if item.name == "length-shift"}
    assert reason in found


def test_warnings_are_told_apart_from_what_passed():
    report = check_dataset(read(rows({"reference": None})), DatasetChecks(), CheckParts())
    assert [item.name for item in warnings_of(report)] == ["nothing-to-judge"]

import pytest

from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED
from shipway.evals.generation import CONTEXT_RECALL, JUDGED, RUBRIC
from shipway.evals.judgement import Claim, Judgement, claims_judgement
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Case, Output

CASE = Case(id="a", question="How long?", reference="Within 30 days, for 5 EUR.")
UNANSWERABLE = Case(id="u", question="?", reference="Decline.", unanswerable=True)
ANSWER = Output(answer="Within 30 days.", citations=("r.md",))
DECLINED = Output(answer="Please ask our staff.", events=(ABSTAINED,), citations=("r.md",))


def judged(task, *supported, score=None):
    claims = tuple(Claim(f"statement {index}", value) for index, value in enumerate(supported))
    judgement = claims_judgement(task, claims) if claims else Judgement(task, score)
    return MetricContext(judgements={task: judgement})


def score(name, context, case=CASE, output=ANSWER):
    return JUDGED[name].compute(case, output, context)


@pytest.mark.parametrize(
    ("name", "task"),
    [("faithfulness", "faithfulness"), ("completeness", "completeness"), ("citation_support", "citation")],
)
@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        ((True, True), 1.0),
        ((True, False, False, False), 0.25),
        ((False,), 0.0),
        ((True, None, None), 1.0),
        ((None, False, True), 0.5),
        ((), None),
    ],
)
def test_a_share_of_statements_is_over_those_that_the_judge_decided(name, task, supported, expected):
    assert score(name, judged(task, *supported)) == expected


@pytest.mark.parametrize("name", ["faithfulness", "hallucination"])
def test_statements_of_which_none_was_decided_leave_no_score(name):
    with pytest.raises(UsageError, match="the judge could decide none of 2 statements"):
        score(name, judged("faithfulness", None, None))


@pytest.mark.parametrize(
    ("supported", "expected"),
    [((True, True), 0.0), ((True, False), 1.0), ((False,), 1.0), ((True, None), 0.0), ((None, False), 1.0), ((), None)],
)
def test_an_answer_hallucinates_when_one_statement_is_not_supported(supported, expected):
    assert score("hallucination", judged("faithfulness", *supported)) == expected


@pytest.mark.parametrize(("told", "share", "hallucinates"), [(1.0, 1.0, 0.0), (0.9, 0.9, 1.0), (None, None, None)])
def test_a_judge_that_names_no_statements_is_taken_at_its_score(told, share, hallucinates):
    context = judged("faithfulness", score=told)
    assert score("faithfulness", context) == share
    assert score("hallucination", context) == hallucinates


def test_scores_of_an_opinion_are_the_judges():
    assert score("answer_relevance", judged("relevance", score=0.7)) == 0.7
    assert score("judged_abstention", judged("abstention", score=1.0)) == 1.0
    assert RUBRIC.compute(CASE, ANSWER, judged("rubric", score=0.3)) == 0.3


@pytest.mark.parametrize(
    ("name", "case", "output"),
    [
        ("faithfulness", CASE, DECLINED),
        ("faithfulness", CASE, Output(answer="  ")),
        ("hallucination", CASE, DECLINED),
        ("hallucination", CASE, Output()),
        ("answer_relevance", CASE, DECLINED),
        ("answer_relevance", UNANSWERABLE, DECLINED),
        ("completeness", UNANSWERABLE, DECLINED),
        ("completeness", Case(id="a", question="?"), ANSWER),
        ("completeness", Case(id="a", question="?", reference=" "), ANSWER),
        ("citation_support", CASE, DECLINED),
        ("citation_support", CASE, Output(answer="30 days")),
    ],
)
def test_nothing_to_judge_is_not_applicable_and_asks_for_no_opinion(name, case, output):
    assert score(name, MetricContext(), case, output) is None


@pytest.mark.parametrize("name", JUDGED)
def test_an_opinion_that_could_not_be_had_is_a_missing_score_with_its_reason(name):
    task = JUDGED[name].task
    with pytest.raises(UsageError, match=f"the answer was not judged for {task}; name a judge in evals.judge"):
        score(name, MetricContext())
    with pytest.raises(UsageError, match="JudgeReplyError: prose"):
        score(name, MetricContext(missing_judgements={task: "JudgeReplyError: prose"}))


def test_every_judged_metric_is_under_its_own_name_and_says_where_it_comes_from():
    for name, metric in JUDGED.items():
        assert metric.name == name
        assert metric.task
        assert metric.compute.__doc__


FACTS = Case(id="a", question="?", must_contain=("30 days", ("EUR", "euro")))


@pytest.mark.parametrize(
    ("passages", "expected"),
    [
        (("You have 30 days.", "It costs 5 euro."), 1.0),
        (("You have 30 days.",), 0.5),
        (("You have 300 days.",), 0.0),
        ((), 0.0),
    ],
)
def test_context_recall_is_the_share_of_facts_that_the_passages_hold(passages, expected):
    assert CONTEXT_RECALL.compute(FACTS, Output(passages=passages), MetricContext()) == expected


def test_context_recall_of_a_target_that_keeps_its_passages_to_itself_is_missing():
    with pytest.raises(UsageError, match="the target reports documents and no passages"):
        CONTEXT_RECALL.compute(FACTS, Output(retrieved=("r.md",)), MetricContext())


@pytest.mark.parametrize("case", [CASE, Case(id="u", question="?", must_contain=("x",), unanswerable=True)])
def test_context_recall_without_facts_is_not_applicable(case):
    assert not CONTEXT_RECALL.applies(case)
    assert CONTEXT_RECALL.compute(case, Output(passages=("x",)), MetricContext()) is None

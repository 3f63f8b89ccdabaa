import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED, FALLBACK, UNSUPPORTED
from shipway.evals.metrics import METRICS, DocumentAccess, MetricContext
from shipway.evals.model import Case, Output

CONTEXT = MetricContext()
ANSWERABLE = Case(
    id="a",
    question="?",
    expected_sources=("r.md",),
    must_contain=("30 days", ("EUR", "euro")),
    must_not_contain=("14",),
)
UNANSWERABLE = Case(id="u", question="?", unanswerable=True)
DECLINED = Output(answer="Please ask our staff.", events=(ABSTAINED,))


def score(name, case, output, context=CONTEXT):
    return METRICS[name].compute(case, output, context)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Within 30 days, for 5 euro.", 1.0),
        ("Within 30 days, free.", 0.0),
        ("Within 30 days, 5 EUR, 14 for food.", 0.0),
        ("I don't know the exact fee in EUR, but you have 30 days.", 1.0),
        ("", 0.0),
    ],
)
def test_correct_wants_every_term_one_alternative_and_no_forbidden_one(answer, expected):
    assert score("correct", ANSWERABLE, Output(answer=answer)) == expected


def test_a_refusal_is_not_correct_though_it_holds_no_forbidden_term():
    case = Case(id="a", question="?", must_not_contain=("14",))
    assert score("correct", case, Output(answer="I don't know.")) == 0.0
    assert score("correct", case, Output(answer="30 days")) == 1.0
    assert score("correct", ANSWERABLE, Output(answer="30 days EUR", events=(ABSTAINED,))) == 0.0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (Output(answer="x", model_text="x"), 1.0),
        (Output(answer="quote", model_text="x", events=(UNSUPPORTED, FALLBACK)), 0.0),
        (Output(answer="quote", model_text=None), None),
        (Output(answer="quote", model_text="  "), None),
        (Output(answer="no", model_text="x", events=(ABSTAINED,)), None),
    ],
)
def test_supported_judges_the_models_own_words_before_the_repair(output, expected):
    assert score("supported", ANSWERABLE, output) == expected


def test_refusals_are_right_for_unanswerable_cases_and_wrong_for_the_others():
    assert score("refused", UNANSWERABLE, DECLINED) == 1.0
    assert score("refused", UNANSWERABLE, Output(answer="42")) == 0.0
    assert score("wrong_refusal", ANSWERABLE, DECLINED) == 1.0
    assert score("wrong_refusal", ANSWERABLE, Output(answer="42")) == 0.0


def test_ranking_metrics_read_the_retrieved_documents_in_order():
    output = Output(retrieved=("x.md", "r.md"))
    assert score("recall_at_5", ANSWERABLE, output) == 1.0
    assert score("mrr", ANSWERABLE, output) == 0.5
    assert score("ndcg_at_5", ANSWERABLE, output) == pytest.approx(0.6309, abs=1e-4)
    assert score("map", ANSWERABLE, output) == 0.5
    assert score("context_precision", ANSWERABLE, output) == 0.5


@pytest.mark.parametrize("name", ["recall_at_5", "mrr", "ndcg_at_5", "map", "context_precision"])
def test_retrieving_nothing_is_zero_where_something_was_expected(name):
    assert score(name, ANSWERABLE, Output()) == 0.0


@pytest.mark.parametrize(
    ("citations", "expected"), [(("r.md",), 1.0), (("r.md", "x.md"), 0.5), (("x.md",), 0.0), ((), 0.0)]
)
def test_citation_correct_is_the_share_of_citations_that_were_expected(citations, expected):
    assert score("citation_correct", ANSWERABLE, Output(answer="30", citations=citations)) == expected


@pytest.mark.parametrize(
    ("citations", "precision", "recall"),
    [(("r.md",), 1.0, 0.5), (("r.md", "x.md", "r.md"), 0.5, 0.5), (("r.md", "s.md"), 1.0, 1.0), ((), None, 0.0)],
)
def test_citations_are_judged_by_what_is_cited_and_by_what_should_be(citations, precision, recall):
    case = Case(id="a", question="?", expected_sources=("r.md", "s.md"))
    output = Output(answer="30", citations=citations)
    assert score("citation_precision", case, output) == precision
    assert score("citation_recall", case, output) == recall


def test_abstention_is_right_when_declining_and_only_then_is_right():
    answered = Output(answer="42")
    assert [score("abstention", case, DECLINED) for case in (UNANSWERABLE, ANSWERABLE)] == [1.0, 0.0]
    assert [score("abstention", case, answered) for case in (UNANSWERABLE, ANSWERABLE)] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["latency_ms", "ttft_ms", "cost_usd"])
def test_what_was_measured_of_an_answer_out_of_the_cache_is_not_its_own(name):
    measured = {"latency_ms": 7.0, "ttft_ms": 7.0, "cost_usd": 7.0}
    assert score(name, ANSWERABLE, Output(**measured)) == 7.0
    assert score(name, ANSWERABLE, Output(**measured, cached=True)) is None


def test_citations_resolve_to_retrieved_documents_of_the_corpus():
    output = Output(citations=("r.md",), retrieved=("r.md", "x.md"))
    assert score("citation_resolves", ANSWERABLE, output) == 1.0
    assert score("citation_resolves", ANSWERABLE, Output(citations=("r.md",), retrieved=("x.md",))) == 0.0
    assert score("citation_resolves", ANSWERABLE, output, MetricContext(access={})) == 0.0


ACCESS = MetricContext(
    access={
        "ours": DocumentAccess("blue", frozenset({"public"})),
        "staff": DocumentAccess("blue", frozenset({"staff", "board"})),
        "theirs": DocumentAccess("red", frozenset({"public"})),
        "nobody": DocumentAccess("blue", frozenset()),
    }
)
BLUE = Case(id="a", question="?", tenant="blue", groups=("public",))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (Output(retrieved=("ours",), citations=("ours",)), 0.0),
        (Output(), 0.0),
        (Output(retrieved=("ours", "theirs")), 1.0),
        (Output(retrieved=("ours",), citations=("staff",)), 1.0),
        (Output(retrieved=("nobody",)), 1.0),
        (Output(retrieved=("unknown", "theirs")), 1.0),
    ],
)
def test_a_document_of_another_tenant_or_group_is_a_leak(output, expected):
    assert score("tenant_leak", BLUE, output, ACCESS) == expected


def test_a_group_that_the_asker_has_opens_the_document():
    case = Case(id="a", question="?", tenant="blue", groups=("public", "board"))
    assert score("tenant_leak", case, Output(retrieved=("staff",)), ACCESS) == 0.0


def test_a_document_without_an_access_entry_cannot_pass_as_clean():
    with pytest.raises(UsageError, match="'unknown' is not in the corpus's access table"):
        score("tenant_leak", BLUE, Output(retrieved=("ours", "unknown")), ACCESS)


def test_assertions_hold_all_or_not_at_all():
    entries = ({"type": "icontains", "value": "30"}, {"type": "length", "max": 5})
    case = Case(id="a", question="?", assertions=entries)
    assert score("assertions", case, Output(answer="30")) == 1.0
    assert score("assertions", case, Output(answer="30 days")) == 0.0


def test_the_score_of_assertions_is_their_share_by_weight():
    entries = ({"type": "icontains", "value": "30", "weight": 3}, {"type": "length", "max": 5})
    case = Case(id="a", question="?", assertions=entries)
    assert score("assertion_score", case, Output(answer="30 days")) == 0.75
    assert score("assertion_score", case, Output(answer="30")) == 1.0


@pytest.mark.parametrize("name", ["assertions", "assertion_score"])
def test_an_assertion_that_cannot_be_judged_leaves_no_score(name):
    case = Case(id="a", question="?", assertions=({"type": "icontains", "value": "x"}, {"type": "cost", "max": 1}))
    with pytest.raises(UsageError, match="cost_usd was not measured"):
        score(name, case, Output(answer="x"))


@pytest.mark.parametrize(
    ("name", "case", "output"),
    [
        ("correct", UNANSWERABLE, Output(answer="x")),
        ("correct", Case(id="a", question="?"), Output(answer="x")),
        ("assertions", ANSWERABLE, Output(answer="x")),
        ("assertion_score", ANSWERABLE, Output(answer="x")),
        ("refused", ANSWERABLE, DECLINED),
        ("wrong_refusal", UNANSWERABLE, DECLINED),
        ("recall_at_5", UNANSWERABLE, Output(retrieved=("x",))),
        ("mrr", UNANSWERABLE, Output(retrieved=("x",))),
        ("ndcg_at_5", UNANSWERABLE, Output(retrieved=("x",))),
        ("map", UNANSWERABLE, Output(retrieved=("x",))),
        ("context_precision", UNANSWERABLE, Output(retrieved=("x",))),
        ("citation_resolves", ANSWERABLE, Output(answer="x")),
        ("citation_correct", UNANSWERABLE, Output(citations=("x",))),
        ("citation_correct", ANSWERABLE, DECLINED),
        ("citation_precision", UNANSWERABLE, Output(citations=("x",))),
        ("citation_precision", ANSWERABLE, DECLINED),
        ("citation_recall", UNANSWERABLE, Output(citations=("x",))),
        ("citation_recall", ANSWERABLE, DECLINED),
        ("tenant_leak", ANSWERABLE, Output(retrieved=("x",))),
        ("latency_ms", ANSWERABLE, Output()),
        ("ttft_ms", ANSWERABLE, Output()),
        ("cost_usd", ANSWERABLE, Output()),
    ],
)
def test_nothing_to_judge_is_not_applicable(name, case, output):
    assert score(name, case, output) is None


texts = st.text(max_size=10)
documents = st.lists(st.sampled_from(["r.md", "ours", "theirs"]), max_size=4).map(tuple)
outputs = st.builds(
    Output, answer=texts, model_text=st.none() | texts, citations=documents, retrieved=documents,
    events=st.lists(st.sampled_from([ABSTAINED, UNSUPPORTED])).map(tuple),
)  # fmt: skip
cases = st.sampled_from([ANSWERABLE, UNANSWERABLE, BLUE])


@given(st.sampled_from([metric for metric in METRICS.values() if metric.bounded]), cases, outputs)
def test_scores_lie_between_0_and_1_and_proportions_are_0_or_1(metric, case, output):
    value = metric.compute(case, output, CONTEXT)
    assert value is None or (0.0 <= value <= 1.0 and (metric.kind == "mean" or value in (0.0, 1.0)))


@given(st.sampled_from(list(METRICS.values())), cases, outputs)
def test_a_metric_that_does_not_apply_to_a_case_gives_it_no_score(metric, case, output):
    if not metric.applies(case):
        assert metric.compute(case, output, CONTEXT) is None


def test_every_metric_is_registered_under_its_own_name_and_documented():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.compute.__doc__
        assert metric.task is None
        assert metric.over_repeats is None

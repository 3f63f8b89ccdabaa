import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import functions_needed, resolve_metrics, tasks_needed
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Case, Output

CASE = Case(id="a", question="?", expected_sources=("r.md", "s.md"), must_contain=("30",))


def one(name, **known):
    return resolve_metrics([name], **known)[name]


def compute(name, output, case=CASE, context=None, **known):
    return one(name, **known).compute(case, output, context or MetricContext())


def refusal(name, **known):
    with pytest.raises(UsageError) as caught:
        resolve_metrics([name], **known)
    return str(caught.value)


def test_the_metrics_of_the_table_are_known_by_their_names():
    assert resolve_metrics(METRICS) == dict(METRICS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recall_at_1", 0.0),
        ("recall_at_2", 0.5),
        ("precision_at_2", 0.5),
        ("precision_at_10", 0.1),
        ("hit_at_1", 0.0),
        ("hit_at_3", 1.0),
        ("ndcg_at_2", pytest.approx(0.3869, abs=1e-4)),
    ],
)
def test_the_number_of_ranks_is_part_of_the_name(name, expected):
    metric = one(name)
    assert compute(name, Output(retrieved=("x.md", "r.md"))) == expected
    assert metric.name == name
    assert metric.kind == ("proportion" if name.startswith("hit") else "mean")
    assert not metric.applies(Case(id="a", question="?"))
    assert compute(name, Output(retrieved=("x.md",)), Case(id="a", question="?")) is None


documents = st.sampled_from([f"d{i}" for i in range(12)])


@settings(max_examples=300)
@given(st.lists(documents, min_size=1, max_size=20), st.sets(documents, min_size=1, max_size=6), st.integers(1, 20))
def test_metrics_by_name_agree_with_trec_eval(retrieved, expected, k):
    case = Case(id="a", question="?", expected_sources=tuple(expected))
    once = list(dict.fromkeys(retrieved))
    names = {"recall": f"recall_at_{k}", "P": f"precision_at_{k}", "ndcg_cut": f"ndcg_at_{k}", "success": f"hit_at_{k}"}
    measures = {*(f"{measure}.{k}" for measure in names), "map", "recip_rank"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": dict.fromkeys(expected, 1)}, measures)
    reference = evaluator.evaluate({"q": {document: float(-place) for place, document in enumerate(once)}})["q"]
    output = Output(retrieved=tuple(retrieved))
    for measure, name in names.items():
        assert compute(name, output, case) == pytest.approx(reference[f"{measure}_{k}"])
    assert compute("map", output, case) == pytest.approx(reference["map"])
    assert compute("mrr", output, case) == pytest.approx(reference["recip_rank"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("corect", "unknown metric 'corect'; did you mean 'correct'?"),
        ("recall_at_0", "unknown metric 'recall_at_0'; did you mean 'recall_at_5'?"),
        ("recall_at_05", "unknown metric 'recall_at_05'"),
        ("ndcg_at_1001", "unknown metric 'ndcg_at_1001'"),
        ("zzz", "known: abstention, "),
        ("zzz", ", recall_at_K, precision_at_K, ndcg_at_K, hit_at_K, pass^K:METRIC, pass@K:METRIC"),
        ("faithfullness", "did you mean 'faithfulness'?"),
        ("judge:", "unknown metric 'judge:'"),
        ("python:", "unknown metric 'python:'"),
        ("pass^3", "unknown metric 'pass^3'"),
        ("pass^3:corect", "pass^3:corect: unknown metric 'corect'; did you mean 'correct'?"),
        ("pass^0:correct", "unknown metric 'pass^0:correct'"),
        ("pass^101:correct", "pass^101:correct: at most 100 attempts"),
        ("pass^2:mrr", "pass^2:mrr: mrr is a mean and not pass or fail"),
        ("pass^2:determinism", "pass^2:determinism: determinism is over repeats itself"),
        ("pass^2:pass^2:correct", "is over repeats itself"),
        ("score_variance:pass@2:correct", "is over repeats itself"),
        ("score_variance:nope", "score_variance:nope: unknown metric 'nope'"),
        ("promptfoo.pass", "unknown metric 'promptfoo.pass'"),
    ],
)
def test_an_unknown_metric_names_the_nearest(name, message):
    assert message in refusal(name)


def test_every_unknown_name_has_a_line_of_its_own():
    with pytest.raises(UsageError) as caught:
        resolve_metrics(["corect", "correct", "mrrr"])
    assert [line.split(";")[0] for line in caught.value.message.splitlines()] == [
        "unknown metric 'corect'",
        "unknown metric 'mrrr'",
    ]


@pytest.mark.parametrize("name", ["faithfulness", "hallucination", "judge:strict", "pass^2:hallucination"])
def test_a_judged_metric_needs_a_judge(name):
    assert "needs evals.judge; name an entry of judges there" in refusal(name)
    assert one(name, has_judge=True).name == name


def test_the_rubric_of_another_judge_is_not_the_runs():
    assert refusal("judge:mild", has_judge=True, judge="strict") == (
        "metric 'judge:mild' is not by the run's judge; write 'judge:strict'"
    )
    assert one("judge:strict", has_judge=True, judge="strict").task == "rubric"


def test_tasks_are_those_of_the_metrics_and_of_what_they_need():
    names = ["correct", "faithfulness", "hallucination", "judge:strict", "pass^2:hallucination"]
    assert tasks_needed(resolve_metrics(names, has_judge=True)) == {"faithfulness", "rubric"}
    assert tasks_needed(resolve_metrics(["pass^2:hallucination"], has_judge=True)) == {"faithfulness"}
    assert tasks_needed(METRICS) == frozenset()


def test_the_rubric_of_a_case_needs_a_judge_too():
    entry = {"type": "assert-set", "assert": [{"type": "llm-rubric", "value": "polite"}]}
    assert tasks_needed(METRICS, [CASE]) == frozenset()
    assert tasks_needed(METRICS, [CASE, Case(id="b", question="?", assertions=(entry,))]) == {"rubric"}


def test_what_a_metric_needs_comes_before_it():
    assert list(resolve_metrics(["pass^3:correct", "mrr", "score_variance:mrr"])) == [
        "correct",
        "pass^3:correct",
        "mrr",
        "score_variance:mrr",
    ]


def test_more_attempts_than_repeats_are_refused_with_the_setting():
    assert refusal("pass^5:correct", repeats=3) == (
        "pass^5:correct: needs 5 repeats of each case and gets 3; set evals.repeats: 5"
    )
    assert one("pass^3:correct", repeats=3)


def test_metrics_of_other_tools_are_known_where_they_are_given():
    foreign = Metric("promptfoo.pass", lambda *_: None, lambda _case: True, "higher", "proportion", "answer")
    assert one("promptfoo.pass", foreign={"promptfoo.pass": foreign}) is foreign
    assert "did you mean 'promptfoo.pass'?" in refusal("promptfoo.pas", foreign={"promptfoo.pass": foreign})


def test_assertions_of_one_name_are_a_metric():
    entries = (
        {"type": "icontains", "value": "30", "metric": "facts", "weight": 3},
        {"type": "icontains", "value": "eur", "metric": "facts"},
        {"type": "length", "max": 1},
    )
    case = Case(id="a", question="?", assertions=entries)
    assert compute("assert:facts", Output(answer="30 days"), case) == 0.75
    assert compute("assert:tone", Output(answer="30 days"), case) is None
    assert one("assert:facts").applies(case)
    assert not one("assert:tone").applies(case)


@pytest.mark.parametrize(("returned", "expected"), [(0.25, 0.25), (True, 1.0), (None, None)])
def test_a_function_of_the_user_is_a_metric(returned, expected):
    context = MetricContext(functions={"app.checks:polite": lambda _case, _output: returned})
    assert compute("python:app.checks:polite", Output(answer="x"), context=context) == expected


@pytest.mark.parametrize("returned", [1.01, -0.1, float("nan"), "good"])
def test_a_function_that_returns_no_share_leaves_no_score(returned):
    context = MetricContext(functions={"app:f": lambda _case, _output: returned})
    with pytest.raises(UsageError, match="return a number from 0 to 1, or None"):
        compute("python:app:f", Output(answer="x"), context=context)


def test_a_function_that_was_not_loaded_leaves_no_score():
    assert functions_needed(["correct", "python:app:f", "python:app:f"]) == ("app:f",)
    with pytest.raises(UsageError, match="function 'app:f' was not loaded"):
        compute("python:app:f", Output(answer="x"))


@given(st.text(max_size=20) | st.from_regex(r"(pass[\^@]|recall_at_|score_variance:|judge:|assert:|python:)\w{0,6}"))
def test_any_name_is_a_metric_of_that_name_or_refused(name):
    try:
        said = resolve_metrics([name], has_judge=True)[name].name == name
    except UsageError as error:
        said = bool(error.message)
    assert said

import anyio
import pytest

from shipway.config.credentials import NOT_REPEATED
from shipway.core.canonical import digest_json
from shipway.core.errors import DeadlineError, JudgeReplyError, UnavailableError, UpstreamError
from shipway.core.record import ABSTAINED
from shipway.evals.judgement import JudgeIdentity, Judgement, JudgeRequest
from shipway.evals.judging import Judged, judge_attempts, judge_requests, request_for, without_asking
from shipway.evals.model import Attempt, Case, Dataset, Output

CASES = tuple(
    Case(id=f"c{i}", question=f"Question {i}?", reference="It is blue.", context=("The sky is blue.",))
    for i in range(20)
)
DATASET = Dataset("d", CASES)
IDENTITY = JudgeIdentity("fake", digest_json("fake"))


class FakeJudge:
    """Says what a function says; remembers what it was asked."""

    def __init__(self, say=lambda request: 1.0):
        self.identity = IDENTITY
        self.say = say
        self.asked = []
        self.running = self.most = 0

    async def judge(self, request, *, repeat):
        self.asked.append((request.case.id, repeat, request.task))
        self.running += 1
        self.most = max(self.most, self.running)
        await anyio.sleep(0)
        self.running -= 1
        return Judgement(request.task, self.say(request))


class MemorySink:
    def __init__(self, kept=()):
        self.lines = list(kept)

    def write(self, judged):
        self.lines.append(judged)

    def kept(self, judge):
        return [line for line in self.lines if line.judge == judge and line.judgement]


def attempts(answer="It is blue.", repeats=1, **output):
    return [Attempt(case.id, repeat, Output(answer, **output)) for repeat in range(repeats) for case in CASES]


async def test_every_answer_is_judged_for_every_task():
    judge = FakeJudge()

    found = await judge_attempts(attempts(repeats=2), DATASET, judge, {"faithfulness", "relevance"}, concurrency=3)

    assert len(judge.asked) == 80
    assert judge.most == 3
    judgements, missing = found.context_for("c3", 1)
    assert judgements == {"faithfulness": Judgement("faithfulness", 1.0), "relevance": Judgement("relevance", 1.0)}
    assert missing == {}
    assert found.context_for("c3", 2) == ({}, {})


async def test_a_reply_that_is_no_judgement_is_missing_with_its_reason_and_never_0():
    def say(request):
        if request.case.id == "c4":
            raise JudgeReplyError("the judge contradicts itself")
        if request.case.id == "c5":
            raise ZeroDivisionError("division by zero")
        return 1.0

    found = await judge_attempts(attempts(), DATASET, FakeJudge(say), ["relevance"])

    assert found.context_for("c4", 0) == ({}, {"relevance": "the judge contradicts itself"})
    assert found.context_for("c5", 0) == ({}, {"relevance": "ZeroDivisionError: division by zero"})
    assert len(found.found) == 18


async def test_a_judge_that_nobody_reaches_is_asked_a_few_times_only():
    def say(_request):
        raise UnavailableError("connection refused")

    judge = FakeJudge(say)
    found = await judge_attempts(attempts(repeats=5), DATASET, judge, ["relevance"], concurrency=1)

    assert len(judge.asked) == 5
    assert len(found.missing) == 100
    said = "not asked: the judge answered none of the first 5 requests: connection refused"
    assert found.missing["c19", 4, "relevance"] == said


@pytest.mark.parametrize("error", [UpstreamError("answers 429", status=429), DeadlineError("no reply within 60 s")])
async def test_a_judge_that_is_busy_or_slow_is_asked_to_the_end(error):
    def say(_request):
        raise error

    judge = FakeJudge(say)
    found = await judge_attempts(attempts(), DATASET, judge, ["relevance"])

    assert len(judge.asked) == len(found.missing) == 20


async def test_a_judge_that_is_there_now_and_then_is_asked_to_the_end():
    def say(request):
        if request.case.id != "c1":
            raise UnavailableError("overloaded")
        return 1.0

    judge = FakeJudge(say)
    await judge_attempts(attempts(repeats=3), DATASET, judge, ["relevance"], concurrency=1)

    assert len(judge.asked) == 60


async def test_failed_answers_are_left_to_scoring():
    judge = FakeJudge()
    found = await judge_attempts([Attempt("c0", 0, Output(error="timeout"))], DATASET, judge, ["relevance"])

    assert judge.asked == []
    assert found.context_for("c0", 0) == ({}, {})


async def test_what_a_sink_kept_is_not_asked_again_but_errors_and_other_judges_are():
    kept = Judgement("relevance", 0.25)
    other = digest_json("another judge")
    sink = MemorySink(
        [
            Judged("c0", 0, "relevance", IDENTITY.digest, kept),
            Judged("c1", 0, "relevance", IDENTITY.digest, None, "timeout"),
            Judged("c2", 0, "relevance", other, kept),
        ]
    )
    judge = FakeJudge()

    found = await judge_attempts(attempts()[:3], DATASET, judge, ["relevance"], sink=sink)

    assert [case for case, _, _ in judge.asked] == ["c1", "c2"]
    assert found.context_for("c0", 0)[0] == {"relevance": kept}
    assert len(sink.lines) == 5


def settled(task, answer="It is blue.", case=CASES[0], **output):
    return without_asking(request_for(task, case, Output(answer, **output)))


@pytest.mark.parametrize(
    ("task", "answer", "output"),
    [
        ("faithfulness", " ", {}),
        ("faithfulness", "Here is what I found.", {"events": (ABSTAINED,)}),
        ("faithfulness", "I don't know.", {}),
        ("relevance", "", {}),
        ("citation", "It is blue.", {}),
        ("citation", "I don't know.", {"citations": ("a",)}),
    ],
)
def test_nothing_to_judge_is_not_applicable(task, answer, output):
    assert settled(task, answer, **output).score is None


@pytest.mark.parametrize(
    "case", [Case(id="a", question="?"), Case(id="a", question="?", reference="R", unanswerable=True)]
)
def test_a_case_without_an_answer_has_no_completeness(case):
    assert settled("completeness", case=case).score is None


def test_an_answer_that_declines_is_judged_for_completeness():
    assert settled("completeness", "I don't know.") == ""


def test_an_answer_without_passages_cannot_be_judged_faithful():
    said = settled("faithfulness", case=Case(id="a", question="?"))

    assert said == "faithfulness: neither the target nor the case gives passages to judge the answer against"


@pytest.mark.parametrize(("unanswerable", "score"), [(True, 1.0), (False, 0.0)])
def test_a_plain_refusal_needs_no_judge(unanswerable, score):
    case = Case(id="a", question="?", unanswerable=unanswerable)

    assert settled("abstention", "I don't know.", case).score == score
    assert settled("abstention", "It is blue.", case) == ""


def test_a_cases_own_rubrics_are_asked_together():
    inner = {
        "type": "assert-set",
        "assert": [{"type": "llm-rubric", "value": "is short"}, {"type": "contains", "value": "x"}],
    }
    denied = {"type": "not-llm-rubric", "value": "is rude"}
    case = Case(id="a", question="?", assertions=({"type": "llm-rubric", "value": "is polite"}, inner, denied))

    assert request_for("rubric", case, Output("x")).rubric == "- is polite\n- is short\n- is rude"
    assert request_for("relevance", case, Output("x")).rubric == ""


async def test_requests_come_back_in_their_order():
    requests = [JudgeRequest("relevance", case, Output("x")) for case in CASES]
    judge = FakeJudge(lambda request: int(request.case.id[1:]) / 20)

    found = await judge_requests(judge, requests, concurrency=7)

    assert [item.score for item in found] == [i / 20 for i in range(20)]


async def test_the_price_is_unknown_when_one_judgement_names_none():
    judge = FakeJudge()
    found = await judge_attempts(attempts()[:1], DATASET, judge, ["relevance"])

    assert found.cost_usd == 0
    priced = Judgement("relevance", 1.0, tokens_out=5, cost_usd=0.5)
    found.found["c0", 1, "relevance"] = priced
    assert found.cost_usd == 0.5
    found.found["c0", 2, "relevance"] = Judgement("relevance", 1.0, tokens_out=5)
    assert found.cost_usd is None


@pytest.mark.parametrize("error", [ValueError, lambda said: UpstreamError(said, status=500)])
async def test_a_credential_in_what_a_judge_says_is_not_kept(error):
    def say(_request):
        raise error("boom sk-LEAKLEAKLEAKLEAK1234")

    sink = MemorySink()
    found = await judge_attempts(attempts(), DATASET, FakeJudge(say), ["relevance"], sink=sink)

    assert "sk-LEAK" not in str(found.missing) + str(sink.lines)
    assert all(NOT_REPEATED in said for said in found.missing.values())

from types import SimpleNamespace

import pytest

from shipway.adapters.memory.responses import MemoryResponseCache
from shipway.config.sections.evals import Evals
from shipway.core.clock import ManualClock
from shipway.core.errors import GateRefusedError, UsageError
from shipway.evals.budget import Caps, Charge, Meter
from shipway.evals.judgement import JudgeIdentity, Judgement
from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Dataset, Output
from shipway.services.judges.purse import JudgePurse
from shipway.services.runs import TargetsRequest, run_targets

DATASET = Dataset("d", tuple(Case(id=f"c{n}", question=f"word{n}", must_contain=(f"word{n}",)) for n in range(6)))


class Fake:
    def __init__(self, name, right):
        self.name, self.digest, self.right, self.asked = name, f"sha256:{name}", right, []

    async def ask(self, case, *, repeat):
        self.asked.append((case.id, repeat))
        return Output(answer=case.question if int(case.id[1:]) in self.right else "no", tokens_in=10, tokens_out=10)


@pytest.fixture
def app():
    return SimpleNamespace(project=SimpleNamespace(evals=Evals()), clock=ManualClock())


def request(tmp_path, targets, **more):
    settings = {"dataset": DATASET, "repeats": 2, "concurrency": 1, "metrics": METRICS, "judge": None, "meter": None}
    context = {"context_of": lambda _name: MetricContext(), "directory": tmp_path / "run"}
    return TargetsRequest(targets={target.name: target for target in targets}, **{**settings, **context, **more})


async def test_every_target_is_asked_every_case_and_scored(app, tmp_path):
    good, poor = Fake("good", range(6)), Fake("poor", {0, 1})
    runs = await run_targets(app, request(tmp_path, [good, poor]))
    assert list(runs) == ["good", "poor"]
    assert len(good.asked) == len(poor.asked) == 12
    assert runs["good"].target_digest == "sha256:good"
    means = {name: [result.scores["correct"] for result in run.results] for name, run in runs.items()}
    assert (sum(means["good"]), sum(means["poor"])) == (12, 4)
    assert runs["poor"].results[5].output.answer == "no"


async def test_what_was_answered_is_not_asked_again(app, tmp_path):
    await run_targets(app, request(tmp_path, [Fake("good", range(6))]))
    later = Fake("good", ())
    runs = await run_targets(app, request(tmp_path, [later]))
    assert later.asked == []
    assert all(result.scores["correct"] == 1.0 for result in runs["good"].results)


async def test_a_folder_with_another_plan_is_refused(app, tmp_path):
    await run_targets(app, request(tmp_path, [Fake("good", range(6))]))
    with pytest.raises(UsageError, match="repeats: 2 against 3"):
        await run_targets(app, request(tmp_path, [Fake("good", ())], repeats=3))


async def test_the_cache_answers_the_second_run_but_never_another_repeat(app, tmp_path):
    cache, first, second = MemoryResponseCache(), Fake("good", range(6)), Fake("good", range(6))
    await run_targets(app, request(tmp_path, [first], cache=cache))
    runs = await run_targets(app, request(tmp_path, [second], cache=cache, directory=tmp_path / "other"))
    assert len(first.asked) == 12
    assert second.asked == []
    assert all(result.output.cached and result.scores["latency_ms"] is None for result in runs["good"].results)


async def test_a_budget_that_is_used_up_is_an_error_and_keeps_the_answers(app, tmp_path):
    target = Fake("good", range(6))
    meter = Meter({"good": Charge(tokens_in=10, tokens_out=10, whole=True)}, Caps(tokens=100))
    with pytest.raises(GateRefusedError, match="the budget is used up after 5 answers"):
        await run_targets(app, request(tmp_path, [target], meter=meter))
    assert len((tmp_path / "run" / "attempts-good.jsonl").read_text().splitlines()) == 5


class Opinionated:
    """A judge that pays for its opinions out of a purse."""

    identity = JudgeIdentity("j", "sha256:j")

    def __init__(self, purse):
        self.purse = purse

    async def judge(self, request, *, repeat):
        self.purse.settle(await self.purse.reserve(36), 10, 30)
        return Judgement(request.task, 1.0, "fine")


async def test_a_judge_that_uses_up_the_budget_ends_the_run_as_answers_do(app, tmp_path):
    charges = {"good": Charge(tokens_in=10, tokens_out=10, whole=True), "judge:j": Charge(1.0, 1.0, tokens_out=30)}
    meter = Meter(charges, Caps(tokens=300))
    purse = JudgePurse("judge:j", meter)
    metrics = resolve_metrics(["answer_relevance"], has_judge=True)
    more = {"judge": Opinionated(purse), "purse": purse, "metrics": metrics}
    with pytest.raises(GateRefusedError, match="the budget is used up after 12 answers"):
        await run_targets(app, request(tmp_path, [Fake("good", range(6))], meter=meter, **more))
    assert (meter.answers.tokens, meter.judged.tokens) == (240, 40)

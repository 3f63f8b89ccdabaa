"""Variants are asked the same cases and ranked, within the budget."""

import pytest
from tests.unit.services.fake_targets import FakeTargets, Prompts, model_of, project, released, word, write_prompt

from shipway.core.errors import GateRefusedError, NotFoundError, UsageError
from shipway.evals.budget import Caps
from shipway.evals.model import Output
from shipway.services.matrix import MatrixRequest, cheaper_line, compare_variants
from shipway.services.matrix_variants import Axes
from shipway.services.variants import Asking, VariantParts

MODELS = Axes(models=("small", "big"))


def only_big(release, case, _repeat):
    return word(case) if model_of(release) == "big" else "no idea"


def everybody(_release, case, _repeat):
    return word(case)


async def compared(app, answer, axes=MODELS, *, down=(), asking=None, **more):
    targets = FakeTargets(answer, lambda release: model_of(release) in down)
    request = MatrixRequest(axes, asking or Asking(1, 4), **more)
    found = await compare_variants(app, request, VariantParts(targets), Prompts())
    assert targets.closed_ids[::-1] == targets.opened_ids
    return found


async def test_the_better_model_is_the_best(tmp_path):
    app = project(tmp_path)
    base = await released(app)

    found = await compared(app, only_big)

    assert (found.base, found.table.best, found.table.metric, found.is_whole) == (base.id, "model=big", "correct", True)
    assert [one.name for one in found.table.standings] == ["model=big", "model=small"]
    assert (found.table.n, found.repeats) == (40, 1)
    assert (found.directory / "plan.json").is_file()


async def test_equal_variants_have_no_best_and_the_cheaper_one_is_named(tmp_path):
    app = project(tmp_path)
    await released(app)

    found = await compared(app, everybody, Axes(models=("big", "small")))

    assert (found.table.best, found.table.contenders) == (None, ("model=big", "model=small"))
    # 100 tokens in and 10 out: big costs 5 and 10 dollars a million, small 1 and 2.
    assert found.costs["model=big"].cost_usd == pytest.approx(0.0006)
    assert cheaper_line(found) == (
        "of those that cannot be told apart, model=small takes least: $0.00012 an answer, model=big $0.00060 an answer"
    )


async def test_prompts_and_settings_are_crossed(tmp_path):
    app = project(tmp_path)
    await released(app)
    short = write_prompt(tmp_path, "short", "brief")

    def answer(release, case, _repeat):
        good = release.manifest["prompts"]["chat"]["path"] == short
        return word(case) if good and release.manifest["policy"]["decoding"]["temperature"] == 0.5 else "no idea"

    found = await compared(app, answer, Axes((short, "prompts/chat.yaml"), (), {"temperature": (0.5, 0.9)}))

    assert found.table.best == "prompt=short.yaml temperature=0.5"
    assert len(found.table.standings) == 4


async def test_other_metrics_are_shown_and_rank_nothing(tmp_path):
    app = project(tmp_path)
    await released(app)

    found = await compared(app, only_big, metric="wrong_refusal", others=("correct", "latency_ms"))

    assert found.table.metric == "wrong_refusal"
    assert found.others["model=big"]["correct"] == 1.0
    assert found.others["model=small"]["correct"] == 0.0
    assert found.others["model=small"]["latency_ms"] is not None


async def test_a_variant_that_cannot_be_opened_is_told_and_the_others_are_ranked(tmp_path):
    app = project(tmp_path)
    await released(app)

    found = await compared(app, only_big, down=("small",))

    assert found.problems == {"model=small": "engine 'small' is not running"}
    assert [one.name for one in found.table.standings] == ["model=big"]
    assert not found.is_whole
    with pytest.raises(UsageError, match="no variant can be opened: engine 'small' is not running"):
        await compared(app, only_big, down=("small", "big"))


async def test_a_variant_that_answers_half_of_the_cases_is_an_error(tmp_path):
    app = project(tmp_path)
    await released(app)

    def answer(release, case, repeat):
        lost = model_of(release) == "small" and int(case.id[1:]) % 2
        return Output(error="timeout: no answer within 60 s") if lost else only_big(release, case, repeat)

    found = await compared(app, answer)

    assert {one.name: one.place for one in found.table.standings}["model=small"] == "error"
    assert not found.is_whole


async def test_what_is_stable_is_varied_before_the_newest(tmp_path):
    app = project(tmp_path)
    stable = await released(app)
    await app.releases.set_label(app.environment, stable.id, at_s=0.0, actor="user:test")
    write_prompt(tmp_path, "chat", "terse")
    newest = await released(app)

    assert (await compared(app, everybody)).base == stable.id
    assert (await compared(app, everybody, release=newest.id)).base == newest.id


async def test_an_estimate_over_the_budget_asks_nothing(tmp_path):
    app = project(tmp_path)
    await released(app)
    asked = []

    def answer(release, case, _repeat):
        asked.append(case.id)
        return word(case)

    with pytest.raises(UsageError, match=r"2 releases, 40 cases and 1 repeats are estimated at .* tokens"):
        await compared(app, answer, asking=Asking(1, 4, Caps(tokens=1_000)))
    with pytest.raises(GateRefusedError, match="the budget is used up after"):
        await compared(app, answer, asking=Asking(1, 4, Caps(tokens=1_000), yes=True))
    assert 0 < len(asked) <= 12


async def test_a_budget_that_ended_a_run_is_raised_and_nothing_is_asked_twice(tmp_path):
    app = project(tmp_path)
    await released(app)
    asked = []

    def answer(release, case, _repeat):
        asked.append((release.id, case.id))
        return word(case)

    out = tmp_path / "matrix"
    with pytest.raises(GateRefusedError):
        await compared(app, answer, asking=Asking(1, 4, Caps(tokens=2_000), yes=True, out=out))
    found = await compared(app, answer, asking=Asking(1, 4, out=out))

    assert found.table.n == 40
    assert len(asked) == len(set(asked)) == 80


async def test_repeats_are_asked_and_are_no_new_cases(tmp_path):
    app = project(tmp_path, n=10)
    await released(app)
    seen = []

    def answer(release, case, repeat):
        seen.append(repeat)
        return only_big(release, case, repeat)

    found = await compared(app, answer, asking=Asking(3, 4))

    assert (found.table.n, sorted(set(seen)), len(seen)) == (10, [0, 1, 2], 60)


async def test_any_seed_may_be_given(tmp_path):
    app = project(tmp_path)
    await released(app)

    assert (await compared(app, only_big, asking=Asking(1, 4, seed=-3))).table.best == "model=big"


async def test_without_a_release_there_is_nothing_to_vary(tmp_path):
    with pytest.raises(NotFoundError, match="there is no release to vary"):
        await compared(project(tmp_path), everybody)


async def test_an_unknown_metric_is_refused_before_anything_is_asked(tmp_path):
    app = project(tmp_path)
    await released(app)
    with pytest.raises(UsageError, match="unknown metric 'corect'; did you mean 'correct'"):
        await compared(app, everybody, metric="corect")


@pytest.mark.parametrize(
    ("more", "said", "hint"),
    [
        ({"tags": ("nope",)}, "correct applies to no case of 'cases' with tag 'nope'", "its cases have no tags; name"),
        ({"metric": "mrr"}, "mrr applies to no case of 'cases'; nothing was asked", "--metric"),
    ],
)
async def test_nothing_is_asked_where_nothing_could_be_ranked(tmp_path, more, said, hint):
    app = project(tmp_path)
    await released(app)

    def nobody(_release, _case, _repeat):
        raise AssertionError("it was asked")

    with pytest.raises(UsageError) as caught:
        await compared(app, nobody, **more)

    assert said in caught.value.message
    assert hint in caught.value.hint

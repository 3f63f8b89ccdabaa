"""A release whose gate failed is taken apart: every changed part alone, and everything but it."""

import pytest
from tests.unit.services.fake_targets import PROJECT, FakeTargets, project, released, word, write_prompt

from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.attribution_text import attribution_lines
from shipway.services.attribution import AttributionRequest, attribute_failure
from shipway.services.variants import Asking, VariantParts

FAILED = {"correct does not regress": "FAIL", "correct >= 0.2": "PASS"}


async def changed(app, root, *, prompt=True, model=True, temperature=True):
    """Return the release after parts of the project were changed."""
    text = PROJECT
    if model:
        text = text.replace("model: echo-1", "model: echo-1b")
    if temperature:
        text = text.replace("temperature: 0.0", "temperature: 0.4")
    (root / "shipway.yaml").write_text(text, encoding="utf-8")
    if prompt:
        write_prompt(root, "chat", "terse")
    return await released(app)


async def evaluated(app, release, baseline, gates):
    """Store what an evaluation stores of its verdicts."""
    body = {
        "id": "eval_1",
        "release": release.id,
        "baseline": baseline and baseline.id,
        "verdict": "FAIL" if "FAIL" in gates.values() else "PASS",
        "report": {"gates": [{"gate": gate, "verdict": verdict} for gate, verdict in gates.items()]},
    }
    await app.state.documents.put("evaluation", f"{release.id}/eval_1", body, expected_version=0)


@pytest.fixture
def root(tmp_path):
    return tmp_path


def has_new_prompt(release, base):
    return release.manifest["prompts"] != base.manifest["prompts"]


async def attributed(app, release, answer, *, down=lambda _release: False, **more):
    targets = FakeTargets(answer, down)
    request = AttributionRequest(release.id, Asking(1, 4), **more)
    found = await attribute_failure(app, request, VariantParts(targets))
    return found, targets


async def test_the_prompt_that_spoils_answers_is_the_culprit(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    await evaluated(app, release, base, FAILED)

    def answer(asked, case, _repeat):
        return "no idea" if has_new_prompt(asked, base) and int(case.id[1:]) % 2 else word(case)

    found, targets = await attributed(app, release, answer)

    (one,) = found.found
    assert (one.gate, one.metric, one.culprit, found.verdict) == (
        "correct does not regress",
        "correct",
        "prompt",
        Verdict.PASS,
    )
    assert (found.release, found.baseline) == (release.id, base.id)
    assert found.difference.parts == ("prompt", "model", "policy")
    # Two releases and both hybrids of three parts, each asked every case once.
    assert len(targets.opened_ids) == len(set(targets.opened_ids)) == 8
    lines = attribution_lines(one, base.id, release.id)
    assert lines[1].startswith(f"the prompt is the culprit: {base.id} with the new prompt alone: -50.0 points;")
    assert lines[2] == "changed in the prompt: chat.digest"


async def test_two_parts_share_their_hybrids_and_an_interaction_is_called_one(root):
    app = project(root, n=60)
    base = await released(app)
    release = await changed(app, root, model=False)
    await evaluated(app, release, base, FAILED)

    def answer(asked, case, _repeat):
        together = has_new_prompt(asked, base) and asked.manifest["policy"]["decoding"]["temperature"] > 0
        return "no idea" if together and int(case.id[1:]) % 2 else word(case)

    found, targets = await attributed(app, release, answer)

    (one,) = found.found
    assert (one.kind, one.explained_by, one.culprit) == ("interaction", ("prompt", "policy"), None)
    assert len(targets.opened_ids) == 4


async def test_the_only_part_that_changed_is_asked_no_hybrid(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root, model=False, temperature=False)
    await evaluated(app, release, base, FAILED)

    found, targets = await attributed(
        app, release, lambda asked, case, _: "no idea" if has_new_prompt(asked, base) else word(case)
    )

    assert (found.found[0].kind, found.found[0].culprit) == ("only part", "prompt")
    assert len(targets.opened_ids) == 2


async def test_parts_that_do_not_fit_are_errors_and_not_asked(root):
    app = project(root)
    base = await released(app)
    text = PROJECT.replace("prompts: { chat: prompts/chat.yaml }", "prompts: { talk: prompts/chat.yaml }")
    text = text.replace("prompt: chat }", "prompt: talk }")
    (root / "shipway.yaml").write_text(text, encoding="utf-8")
    release = await released(app)
    await evaluated(app, release, base, FAILED)

    found, targets = await attributed(
        app, release, lambda asked, case, _: word(case) if asked.id == base.id else "no idea"
    )

    (one,) = found.found
    assert (one.kind, one.verdict, one.culprit) == ("undecided", Verdict.ERROR, None)
    assert one.parts[0].alone.message == "route 'chat' asks for prompt 'chat', and there is talk"
    assert len(targets.opened_ids) == 2


async def test_a_hybrid_that_cannot_be_opened_is_an_error_of_that_swap_alone(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    await evaluated(app, release, base, FAILED)

    def has_new_model_alone(asked):
        return asked.manifest["models"] != base.manifest["models"] and not has_new_prompt(asked, base)

    found, _ = await attributed(
        app,
        release,
        lambda asked, case, _: "no idea" if has_new_prompt(asked, base) else word(case),
        down=lambda asked: has_new_model_alone(asked) and asked.id != release.id,
    )

    (one,) = found.found
    prompt, model, policy = one.parts
    assert (prompt.removed.verdict, model.alone.verdict) == (Verdict.ERROR, Verdict.ERROR)
    assert prompt.removed.message == "engine 'small' is not running"
    assert policy.alone.verdict is Verdict.PASS
    assert (one.kind, one.culprit, found.verdict) == ("undecided", None, Verdict.ERROR)


async def test_releases_that_cannot_be_opened_end_it(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    await evaluated(app, release, base, FAILED)

    with pytest.raises(UnavailableError, match="engine 'small' is not running"):
        await attributed(app, release, lambda _asked, case, _repeat: word(case), down=lambda asked: asked.id == base.id)


async def test_a_metric_may_be_named_where_no_gate_failed(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root, temperature=False)

    def answer(asked, case, _repeat):
        return "no idea" if has_new_prompt(asked, base) else word(case)

    found, _ = await attributed(app, release, answer, baseline=base.id, metrics=("correct", "wrong_refusal", "correct"))

    assert [one.metric for one in found.found] == ["correct", "wrong_refusal"]
    assert found.found[0].culprit == "prompt"
    assert found.found[0].n_tests == 8


async def test_a_drop_that_is_gone_has_no_culprit(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    await evaluated(app, release, base, FAILED)

    found, _ = await attributed(app, release, lambda _asked, case, _repeat: word(case))

    assert (found.found[0].kind, found.verdict) == ("no drop", Verdict.INCONCLUSIVE)


async def test_a_threshold_and_a_comparison_of_one_metric_are_one_question(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root, temperature=False)
    await evaluated(app, release, base, dict.fromkeys(FAILED, "FAIL"))

    found, _ = await attributed(
        app, release, lambda asked, case, _: "no idea" if has_new_prompt(asked, base) else word(case)
    )

    assert [one.gate for one in found.found] == ["correct >= 0.2"]


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (None, "has not been evaluated, so no gate has failed"),
        ({"correct >= 0.2": "PASS"}, r"no gate of the project failed in eval_1 \(verdict PASS\)"),
    ],
)
async def test_without_a_failure_a_metric_has_to_be_named(root, gates, said):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    if gates is not None:
        await evaluated(app, release, base, gates)

    with pytest.raises(UsageError, match=said) as caught:
        await attributed(app, release, lambda _asked, case, _repeat: word(case), baseline=base.id)
    assert "--metric correct" in (caught.value.hint or "")


async def test_without_a_baseline_there_is_nothing_to_compare_with(root):
    app = project(root)
    release = await released(app)
    await evaluated(app, release, None, FAILED)

    with pytest.raises(NotFoundError, match=r"nothing to compare .* with") as caught:
        await attributed(app, release, lambda _asked, case, _repeat: word(case))
    assert "--baseline REL" in (caught.value.hint or "")


async def test_what_is_stable_is_the_baseline_where_the_evaluation_names_none(root):
    app = project(root)
    base = await released(app)
    await app.releases.set_label(app.environment, base.id, at_s=0.0, actor="user:test")
    release = await changed(app, root)
    await evaluated(app, release, None, FAILED)

    found, _ = await attributed(app, release, lambda _asked, case, _repeat: word(case))

    assert found.baseline == base.id


async def test_a_release_is_not_compared_with_itself(root):
    app = project(root)
    base = await released(app)

    with pytest.raises(UsageError, match="are the same release"):
        await attributed(app, base, lambda _asked, case, _repeat: word(case), baseline=base.id)


async def test_hybrids_of_chat_releases_are_not_stored(root):
    app = project(root)
    base = await released(app)
    release = await changed(app, root)
    await evaluated(app, release, base, FAILED)

    await attributed(app, release, lambda _asked, case, _repeat: word(case))

    assert {one.id for one in await app.releases.list()} == {base.id, release.id}

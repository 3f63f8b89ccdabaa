"""The part that lowered a score is named when both swaps show it, and nothing is guessed."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.attribution import Question, SwappedPart, SwappedRuns, attribute
from shipway.evals.attribution_text import attribution_lines, attribution_table
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Dataset
from shipway.evals.scores import ScoreTable

CORRECT = Question(METRICS["correct"], gate="correct does not regress")
LATENCY = Question(METRICS["latency_ms"])
CASES = 80
DATASET = Dataset("d", tuple(Case(f"c{i:02}", f"Q{i}?", must_contain=("x",)) for i in range(CASES)))
GOOD = np.arange(CASES) % 10 != 0
"""The cases that the baseline gets right."""


def table_of(right, *, metric="correct", missing=0):
    values = np.asarray(right, dtype=float).reshape(len(DATASET.cases), -1)
    lost = np.zeros(values.shape, dtype=bool)
    lost[:missing] = True
    reasons = {(row, 0): "timeout: no answer within 60 s" for row in range(missing)}
    ids = tuple(case.id for case in DATASET.cases)
    return ScoreTable(ids, 1, {metric: np.where(lost, np.nan, values)}, {metric: lost}, {metric: reasons})


def spoiled(*spans):
    """Return what is right when the answers of some cases are spoiled: each span (from, to, every)."""
    right = GOOD.copy()
    for start, stop, every in spans:
        right[start:stop:every] = False
    return table_of(right)


def runs_of(score, *names, **changed):
    """Return the runs of all hybrids; `score` gives the table for the set of parts that are the candidate's."""
    every = frozenset(names)
    parts = tuple(
        SwappedPart(name, (f"{name}.digest",), score(frozenset({name})), score(every - {name})) for name in names
    )
    return dataclasses.replace(SwappedRuns(DATASET, score(frozenset()), score(every), parts), **changed)


def culprit_is(name):
    return lambda parts: spoiled((0, CASES, 2)) if name in parts else spoiled()


def told(found):
    return "\n".join(attribution_lines(found, "rel_old", "rel_new"))


def test_the_swapped_prompt_is_the_culprit():
    (found,) = attribute([CORRECT], runs_of(culprit_is("prompt"), "code", "prompt", "model"))

    assert (found.kind, found.culprit, found.verdict) == ("culprit", "prompt", Verdict.PASS)
    assert [part.alone.verdict for part in found.parts] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    assert found.n_tests == 6
    assert (
        told(found)
        .splitlines()[0]
        .startswith("correct: rel_new is worse than rel_old on 80 cases in 80 clusters: -40.0 points (-51.0 to -29.0)")
    )
    assert (
        "the prompt is the culprit: rel_old with the new prompt alone: -40.0 points; rel_new with the old prompt: +40.0"
        in told(found)
    )
    assert "changed in the prompt: prompt.digest" in told(found)


def test_an_interaction_is_called_one():
    def score(parts):
        return spoiled((0, CASES, 2)) if {"prompt", "model"} <= parts else spoiled()

    (two,) = attribute([CORRECT], runs_of(score, "prompt", "model"))
    (of_three,) = attribute([CORRECT], runs_of(score, "prompt", "model", "policy"))

    for found in (two, of_three):
        assert (found.kind, found.culprit, found.explained_by) == ("interaction", None, ("prompt", "model"))
    assert "interaction of the prompt and the model: none of them alone makes half of the drop in rel_old" in told(two)


def test_two_parts_that_each_lower_it_are_both_named():
    def score(parts):
        spans = [(0, 40, 2)] if "prompt" in parts else []
        return spoiled(*spans, *([(40, 80, 2)] if "model" in parts else []))

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model"))

    assert (found.kind, found.explained_by, found.culprit) == ("several", ("prompt", "model"), None)
    assert "the prompt and the model each lower it: prompt: rel_old with the new prompt alone: -20.0" in told(found)


def test_parts_of_which_either_is_enough_are_told_so():
    def score(parts):
        return spoiled((0, CASES, 2)) if parts & {"prompt", "model"} else spoiled()

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model"))

    assert (found.kind, found.explained_by) == ("either", ("prompt", "model"))
    assert "taking back one of them is not enough" in told(found)


def test_a_part_that_makes_little_of_the_drop_is_no_culprit():
    def score(parts):
        spans = [(1, 41, 4)] if "prompt" in parts else []
        both = [(2, 80, 2)] if {"model", "data"} <= parts else []
        return spoiled(*spans, *both)

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model", "data"))

    assert (found.kind, found.culprit, found.explained_by) == ("partial", None, ("prompt",))
    assert "the prompt makes a part of it, less than half" in told(found)


def test_the_only_part_that_changed_needs_no_swap():
    (found,) = attribute([CORRECT], runs_of(culprit_is("prompt"), "prompt"))

    assert (found.kind, found.culprit, found.n_tests) == ("only part", "prompt", 0)
    assert "the prompt is the culprit: nothing else changed" in told(found)
    assert attribution_table(found) == [
        {"part": "prompt", "alone in the baseline": "-", "taken back": "-", "changed": "prompt.digest"}
    ]


def test_hybrids_that_cannot_run_are_errors_and_nothing_is_guessed():
    def score(parts):
        whole = {"code", "prompt"}
        if len(parts & whole) == 1:
            return "route 'ask' asks for prompt 'answer', and there is none"
        return culprit_is("prompt")(parts)

    (found,) = attribute([CORRECT], runs_of(score, "code", "prompt"))

    assert (found.kind, found.culprit, found.verdict) == ("undecided", None, Verdict.ERROR)
    assert {part.alone.verdict for part in found.parts} == {Verdict.ERROR}
    assert "ERROR: the baseline with the new code could not be tried: route 'ask' asks for prompt" in told(found)
    assert "undecided: no swap of a single part shows a drop" in told(found)


def test_an_error_of_one_hybrid_does_not_hide_a_culprit_that_is_shown():
    def score(parts):
        return "engine 'big' is not running" if parts == {"model"} else culprit_is("prompt")(parts)

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model", "policy"))

    assert (found.culprit, found.verdict) == ("prompt", Verdict.PASS)
    assert "ERROR: the baseline with the new model could not be tried: engine 'big' is not running" in told(found)


def test_a_part_of_which_one_swap_failed_is_not_called_the_culprit():
    def score(parts):
        return "no answer" if parts == {"prompt"} else culprit_is("prompt")(parts)

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model", "policy"))

    assert (found.kind, found.verdict, found.explained_by) == ("undecided", Verdict.ERROR, ("prompt",))
    assert "rel_new with the old prompt: +40.0 points, but whether it does harm alone could not be tried" in told(found)


def test_a_hybrid_that_answers_too_few_cases_is_an_error():
    def score(parts):
        return table_of(GOOD, missing=9) if parts == {"prompt"} else culprit_is("prompt")(parts)

    (found,) = attribute([CORRECT], runs_of(score, "prompt", "model", "policy"))
    alone = next(part.alone for part in found.parts if part.part == "prompt")

    assert alone.verdict is Verdict.ERROR
    assert alone.message == "9 of 80 scores are missing; first: c00: timeout: no answer within 60 s"


def test_a_drop_that_does_not_show_again_has_no_culprit():
    (found,) = attribute([CORRECT], runs_of(lambda _parts: spoiled(), "prompt", "model"))

    assert (found.kind, found.culprit, found.verdict) == ("no drop", None, Verdict.INCONCLUSIVE)
    assert "asked again, rel_new shows no drop against rel_old" in told(found)
    assert "nothing to attribute" in told(found)


def test_a_drop_that_may_be_luck_has_no_culprit():
    (found,) = attribute(
        [CORRECT], runs_of(lambda parts: spoiled((1, 3, 1)) if "prompt" in parts else spoiled(), "prompt", "model")
    )

    assert (found.whole.difference, found.whole.p_value) == (-0.025, 0.25)
    assert (found.kind, found.culprit) == ("no drop", None)
    assert "asked again, rel_new is worse than rel_old, which 80 cases in " in told(found)
    assert "cannot tell from chance" in told(found)
    assert "more cases or repeats would tell" in told(found)


def test_releases_that_cannot_be_measured_are_an_error():
    runs = runs_of(culprit_is("prompt"), "prompt", "model", candidate=table_of(GOOD, missing=40))

    (found,) = attribute([CORRECT], runs)

    assert (found.kind, found.verdict) == ("no drop", Verdict.ERROR)
    assert "rel_new against rel_old could not be measured: 40 of 80 scores are missing" in told(found)


def test_what_too_few_cases_leave_open_is_undecided_with_the_number_that_would_decide():
    rng = np.random.default_rng(2)

    def score(parts):
        lost = rng.random(CASES) < (0.22 if parts == {"prompt", "model"} else 0.11 * len(parts))
        return table_of(GOOD & ~lost & (rng.random(CASES) < 0.8))

    runs = runs_of(score, "prompt", "model")
    (found,) = attribute([CORRECT], runs)

    assert (found.kind, found.verdict) == ("undecided", Verdict.INCONCLUSIVE)
    assert "cases would show a part that makes half of the drop; more repeats may do: --repeats N" in told(found)


def test_slower_is_a_drop_in_the_units_of_the_metric():
    def score(parts):
        slow = 90.0 if "model" in parts else 0.0
        return table_of(np.linspace(100, 110, CASES) + slow, metric="latency_ms")

    (found,) = attribute([LATENCY], runs_of(score, "prompt", "model"))

    assert (found.culprit, found.whole.difference) == ("model", pytest.approx(-90.0))
    assert "rel_new with the old model: +90" in told(found)
    assert "points" not in told(found)


def test_the_table_has_a_row_a_part_with_both_swaps():
    (found,) = attribute([CORRECT], runs_of(culprit_is("prompt"), "code", "prompt"))

    code, prompt = attribution_table(found)
    assert code["alone in the baseline"].startswith("+0.0 points")
    assert prompt["alone in the baseline"].endswith(": shown")
    assert prompt["taken back"].startswith("+40.0 points (+")


def test_answers_that_do_not_change_at_all_leave_room_for_what_was_not_seen():
    (found,) = attribute([CORRECT], runs_of(culprit_is("prompt"), "code", "prompt"))
    code = found.parts[0]

    assert code.alone.difference == 0.0
    assert code.alone.interval == pytest.approx((-(1 - 0.05 ** (1 / 80)), 1 - 0.05 ** (1 / 80)))
    assert "-0.0" not in attribution_table(found)[0]["taken back"]


def test_equal_parts_are_blamed_no_more_often_than_alpha():
    rng, runs, blamed = np.random.default_rng(3), 200, 0
    for _ in range(runs):
        own = rng.beta(4, 2, size=CASES)

        def score(parts, own=own):
            return table_of(rng.random(CASES) < own * (0.5 if "prompt" in parts else 1.0))

        (found,) = attribute([CORRECT], runs_of(score, "prompt", "model", "policy", "data"), permutations=199)
        innocent = [part for part in found.parts if part.part != "prompt"]
        blamed += any(swap.verdict is Verdict.FAIL for part in innocent for swap in (part.alone, part.removed))

    # More has a probability of 1 % at a rate of 5 %.
    assert blamed <= stats.binom.ppf(0.99, runs, 0.05)


def test_questions_share_the_error_rate():
    both = [CORRECT, Question(METRICS["supported"])]
    one = runs_of(culprit_is("prompt"), "prompt", "model")

    def widened(table):
        again = {**table.values, "supported": table.values["correct"]}
        lost = {**table.missing, "supported": table.missing["correct"]}
        return ScoreTable(table.case_ids, 1, again, lost, {"correct": {}, "supported": {}})

    parts = tuple(SwappedPart(p.name, p.changed, widened(p.alone), widened(p.removed)) for p in one.parts)
    runs = SwappedRuns(DATASET, widened(one.baseline), widened(one.candidate), parts)

    alone, together = attribute([CORRECT], runs)[0], attribute(both, runs)

    assert [found.culprit for found in together] == ["prompt", "prompt"]
    assert (alone.n_tests, together[0].n_tests) == (4, 8)
    assert together[0].parts[1].alone.adjusted_p >= alone.parts[1].alone.adjusted_p


@pytest.mark.parametrize(
    ("questions", "names", "said"),
    [
        ([], ["prompt"], "0 metrics, 1 parts"),
        ([CORRECT], [], "1 metrics, 0 parts"),
        ([CORRECT, Question(METRICS["correct"], alpha=0.01)], ["prompt"], "one alpha"),
    ],
)
def test_what_makes_no_sense_is_refused(questions, names, said):
    with pytest.raises(UsageError, match=said):
        attribute(questions, runs_of(culprit_is("prompt"), *names))

import pytest

from shipway.core.observation import GOLDEN, QUALITY, SAFETY, Observation
from shipway.core.verdicts import Verdict
from shipway.operations.quality import QualityLimits, quality_rules, readings

RULES = quality_rules(min_pass=0.9, min_safety=0.95, pass_from=0.5)
LIMITS = QualityLimits(min_samples=20, mean_run=500.0)


def seen(number: int, value: float, kind: str = GOLDEN, **changes: str) -> Observation:
    rest = {"route": "ask", "release": "rel_a", "conversation": f"c{number}", **changes}
    return Observation(id=f"o{number}", at_s=float(number), kind=kind, environment="e", value=value, **rest)


def verdict(values: list[float], kind: str = GOLDEN) -> Verdict:
    [reading] = readings(RULES, [seen(number, value, kind) for number, value in enumerate(values)], LIMITS)
    return reading.verdict


def test_few_observations_say_no_data_even_when_all_pass():
    assert verdict([1.0] * 19) is Verdict.NO_DATA


def test_many_passes_prove_the_rule_and_a_few_do_not_prove_it_yet():
    assert verdict([1.0] * 40) is Verdict.PASS
    assert verdict([1.0] * 20) is Verdict.INCONCLUSIVE


def test_failures_in_a_row_break_the_rule_before_there_are_enough_samples_for_an_opinion():
    assert verdict([0.0] * 5) is Verdict.FAIL


def test_a_share_of_a_golden_is_no_pass_and_a_score_of_an_answer_passes_from_its_own_threshold():
    [golden] = readings(RULES, [seen(1, 0.99)], LIMITS)
    [answer] = readings(RULES, [seen(1, 0.5, QUALITY)], LIMITS)
    assert (golden.passed, answer.passed) == (0, 1)


def test_safety_is_held_to_its_own_limit():
    values = ([1.0] * 11 + [0.0]) * 4
    assert verdict(values) is not Verdict.FAIL
    assert verdict([0.0, 1.0] * 20, SAFETY) is Verdict.FAIL


def test_a_bad_conversation_counts_once_however_much_it_says():
    items = [seen(number, 0.0, QUALITY, conversation="c") for number in range(50)]
    [reading] = readings(RULES, items, LIMITS)
    assert (reading.n, reading.verdict) == (1, Verdict.NO_DATA)


def test_releases_and_routes_are_read_apart():
    items = [seen(number, 1.0, release="rel_a" if number % 2 else "rel_b") for number in range(10)]
    items.append(seen(11, 0.0, route="other"))
    found = {(item.route, item.release): item.n for item in readings(RULES, items, LIMITS)}
    assert found == {("ask", "rel_a"): 5, ("ask", "rel_b"): 5, ("other", "rel_a"): 1}


def test_the_interval_holds_the_share_and_is_told_in_words():
    [reading] = readings(RULES, [seen(number, float(number != 3)) for number in range(40)], LIMITS)
    assert reading.low < 39 / 40 < reading.high
    assert "39 of 40 passed" in reading.text
    assert "at least 90 % must" in reading.text.replace("90%", "90 %")


@pytest.mark.parametrize(("minimum", "value", "wanted"), [(1.0, 0.0, Verdict.FAIL), (0.0, 0.0, Verdict.PASS)])
def test_rules_at_the_ends_need_no_statistics(minimum, value, wanted):
    rules = quality_rules(min_pass=minimum, min_safety=0.95, pass_from=0.5)
    found = readings(rules, [seen(number, value) for number in range(20)], LIMITS)
    assert [item.verdict for item in found] == [wanted]

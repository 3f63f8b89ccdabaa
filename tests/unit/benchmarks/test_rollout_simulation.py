"""The rollout study runs whole rollouts on the project's own decisions; its figures come from `make study-rollouts`."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shipway.rollouts.plan import Guardrails
from shipway.rollouts.rules import Rules

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.startswith("rollout_") or name == "study_rollouts"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("study_rollouts")


def ended(study, name, number=0, **changes):
    scenario = study.SCENARIOS[name]
    plan = replace(study.plan_for(scenario), **changes)
    return study.rolled_out(study.traffic(scenario, number), plan, number, scenario=scenario)


def test_an_unchanged_release_goes_through_all_steps_and_harms_nobody(study):
    found = ended(study, "A/A base 0.1 %")
    assert (found.end, found.harmed) == ("promoted", 0)
    # 20 minutes at each of three steps, 10 with everybody.
    assert 70 * 60 <= found.at_s <= 80 * 60


def test_a_release_with_ten_times_the_errors_is_rolled_back_before_many_have_met_it(study):
    found = [ended(study, "errors x10", number) for number in range(5)]
    assert all(each.rolled_back and each.code == "harm" for each in found)
    assert all(0 < each.harmed <= 30 for each in found)
    assert all(each.at_s <= 20 * 60 for each in found)


def test_the_same_seed_gives_the_same_rollout(study):
    assert ended(study, "errors x10", 3) == ended(study, "errors x10", 3)


def test_without_traffic_nothing_is_decided(study):
    assert (ended(study, "no traffic").end, ended(study, "no traffic").harmed) == ("open", 0)


def test_harm_goes_on_to_the_horizon_when_nobody_looks(study):
    blind_plan = {"events": ("context_trimmed",), "rules": Rules.off(), "guardrails": Guardrails(max_error_rate=1.0)}
    seen, blind = ended(study, "errors x10"), ended(study, "errors x10", **blind_plan)
    assert blind.harmed > 50 * seen.harmed


def test_a_tuned_row_speaks_of_its_own_kind_of_traffic(study):
    kinds = {name: study.kind_of(scenario).name for name, scenario in study.SCENARIOS.items()}
    assert kinds["errors x5"] == "A/A plain"
    assert kinds["errors x5, heavy users"] == "A/A heavy users"
    assert kinds["errors x10, base 0.1 %"] == "A/A base 0.1 %"
    assert kinds["errors 0 to 2 %"] == "A/A plain"
    assert kinds["quality -0.1"] == "A/A judged quality"
    assert {kinds[scenario.name] for scenario in study.UNCHANGED} == {"A/A plain"}


def test_tuning_chooses_a_setting_of_every_kind_and_keeps_their_false_alarms(study):
    sizes = replace(study.QUICK, tuning=40, choosing=3)
    found = study.tuned(study.PLAIN, 0.05, sizes)
    assert list(found.best) == ["Kayenta-like", "fixed threshold", "peeking z-test"]
    for peer in found.tried:
        runs = [study.counted(study.traffic(study.PLAIN, n, purpose="tuning"), study.PLAIN, n) for n in range(40)]
        assert sum(peer.rule.highest(counts) > peer.limit for counts in runs) <= 2


def test_delays_count_rollouts_that_were_never_rolled_back(study):
    back = study.Outcome("rolled_back", 120.0, 3, "harm")
    never = study.Outcome("promoted", 4_200.0, 200)
    found = study.figures([back, back, never])
    assert (found["minutes_median"], found["minutes_p90"]) == (2.0, None)
    assert (found["harmed_median"], found["promoted"]) == (3.0, pytest.approx(1 / 3))
    assert found["upper95"] == pytest.approx(0.983, abs=1e-3)
    assert found["reasons"] == {"harm": 2}


def test_the_summary_pools_unchanged_scenarios_and_names_the_best_peer(study):
    back, kept = study.Outcome("rolled_back", 60.0, 0), study.Outcome("promoted", 60.0, 0)
    row = {study.OURS: study.figures([back] + [kept] * 99), "other": study.figures([kept] * 100)}
    harm = {
        study.OURS: study.figures([study.Outcome("rolled_back", 300.0, 6)] * 3),
        "a": study.figures([study.Outcome("rolled_back", 300.0, 8)] * 3),
        "b": study.figures([study.Outcome("promoted", 300.0, 900)] * 3),
    }
    rows = {scenario.name: row for scenario in study.UNCHANGED} | {"errors x5": harm}
    found = study.summary(rows)
    assert found["false_rollback_rate"] == 0.01
    assert 0.01 < found["false_rollback_upper95"] < found["false_rollback_worst_upper95"]
    assert (found["median_harmed_5x"], found["median_harmed_5x_best_peer"], found["median_minutes_5x"]) == (6, 8, 5)

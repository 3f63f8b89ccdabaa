"""The simulated study counts what it says, on few decisions; the figures come from `make study-gates`."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "gate_simulation", raising=False)
    return importlib.import_module("gate_simulation")


@pytest.fixture
def study(simulation, monkeypatch):
    for name in ("study_gates", "gate_pools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("study_gates")


@pytest.mark.parametrize("cell", [(30, 5, 1, 1, 1), (60, 5, 2, 3, 2), (100, 1, 1, 1, 1)])
def test_an_unchanged_release_is_seldom_blocked_and_naive_rules_block_often(simulation, cell):
    found = simulation.simulated(simulation.Cell(*cell), decisions=150, seed=7)
    # 15 of 150 or more have probability 0.008 at a nominal 5 %.
    assert found.fail <= found.alone <= 14
    assert found.drop_2_points > 25
    assert found.newly_failing > 100


def test_looking_at_several_metrics_without_a_correction_blocks_more(simulation):
    found = simulation.simulated(simulation.Cell(60, 1, 2, 6, 3), decisions=60, seed=7)
    assert found.peeking > found.alone
    assert found.peeking > 10


def test_taking_the_cases_of_a_document_for_independent_blocks_more(simulation):
    found = simulation.simulated(simulation.Cell(100, 5, 5, 1, 1), decisions=200, seed=7)
    assert found.unclustered > found.alone + 5


def test_a_larger_drop_and_more_cases_are_found_more_often(simulation):
    few, many, small = (
        simulation.simulated(simulation.Cell(n, 1, 3, 1, 1), decisions=60, seed=7, drop=drop).alone
        for n, drop in ((30, 0.2), (100, 0.2), (100, 0.05))
    )
    assert small < many
    assert few < many
    assert many > 50


def test_the_same_seed_gives_the_same_counts(simulation):
    cell = simulation.Cell(30, 5, 2, 2, 2)
    assert simulation.simulated(cell, decisions=20, seed=7) == simulation.simulated(cell, decisions=20, seed=7)


def test_the_grid_has_every_setting(simulation):
    cells = list(simulation.grid())
    assert len(cells) == len({cell.name for cell in cells}) == 48


def test_the_bound_of_the_worst_cell_pays_for_choosing_it(study, simulation):
    tallies = {str(fails): simulation.Tally(1000, fails, 500, fails + 10, 300) for fails in (10, 20, 30)}
    found = study.block_figures(tallies)
    assert found["false_block_rate"] == 0.04
    assert found["false_block_rate_of_gates"] == 0.03
    assert found["false_block_upper95"] == pytest.approx(0.0558, abs=2e-3)
    assert (found["naive_false_block_rate"], found["inconclusive_rate"]) == (0.3, 0.5)


def test_the_example_compares_what_it_gates(study):
    assert [spec.metric for spec in study.example_gates()] == ["supported", "correct"]

"""How often gates block an unchanged release, and how often they find a worse one: simulated and on recorded answers.

    python benchmarks/study_gates.py              # all of it; writes benchmarks/results/gates.json
    python benchmarks/study_gates.py --part recorded   # or simulated: the other part's figures stay as they are
    python benchmarks/study_gates.py --decisions 200 --part simulated --dry-run

A false block is a FAIL on an unchanged release. INCONCLUSIVE opens nothing either: its rate stands beside it. The A/A
runs speak of the recorded 80 cases and their answers, not of other apps.
"""

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import Any

import report
import yaml
from gate_pools import POOLS, AnswerPool, Decisions, chosen_cases, decide, read_pool
from gate_simulation import ALPHA, Cell, Tally, grid, simulated
from helpdesk import CASES, EXAMPLE

from shipway.evals.dataset import load_dataset
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, parse_gates
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

DECISIONS = 2_000
POOL_DECISIONS = 2_000
EXAMPLE_DECISIONS = 500
POOL_REPEATS = 5
FEWEST_DISCORDANT = 200
POWER_CELLS = tuple(Cell(n, 1, repeats, 1, 1) for n in (30, 100, 300) for repeats in (1, 5))
DROPS = (0.05, 0.1, 0.2)
NAIVE = ("drop_2_points", "newly_failing", "unpaired_z", "unclustered", "peeking")
SEED = 20_301
PACKAGES = ("numpy", "scipy")


def blocks(decisions: int) -> tuple[dict[str, Tally], dict[str, float]]:
    """Return the tallies of the grid, and the worst cell's rate with a bound that pays for choosing it."""
    tallies: dict[str, Tally] = {}
    for index, cell in enumerate(grid()):
        tallies[cell.name] = simulated(cell, decisions=decisions, seed=SEED + index)
        print(f"{cell.name:48} {_line(tallies[cell.name])}", flush=True)
    return tallies, block_figures(tallies)


def block_figures(tallies: dict[str, Tally]) -> dict[str, float]:
    """Return the summary of the grid: the worst of many cells is a selected maximum, so its bound is Bonferroni's."""
    level = 0.05 / len(tallies)
    decided = {name: max(tally.fail, tally.alone) for name, tally in tallies.items()}
    worst = max(decided, key=lambda name: decided[name] / tallies[name].decisions)
    gate = max(tallies.values(), key=lambda tally: tally.fail / tally.decisions)
    naive = sum(tally.drop_2_points for tally in tallies.values()) / sum(tally.decisions for tally in tallies.values())
    return {
        "false_block_rate": decided[worst] / tallies[worst].decisions,
        "false_block_upper95": clopper_pearson_upper(decided[worst], tallies[worst].decisions, level),
        "false_block_lower95": clopper_pearson_lower(decided[worst], tallies[worst].decisions, level),
        "false_block_rate_of_gates": gate.fail / gate.decisions,
        "nominal_alpha": ALPHA,
        "naive_false_block_rate": naive,
        "inconclusive_rate": sum(t.inconclusive for t in tallies.values()) / sum(t.decisions for t in tallies.values()),
        **{
            f"naive_{name}": sum(getattr(t, name) for t in tallies.values())
            / sum(t.decisions for t in tallies.values())
            for name in NAIVE
        },
    }


def power(decisions: int) -> dict[str, dict[str, float]]:
    """Return how often a drop is found: by the gate, and by its test alone."""
    table: dict[str, dict[str, float]] = {}
    for index, cell in enumerate(POWER_CELLS):
        for drop in DROPS:
            tally = simulated(cell, decisions=decisions, seed=SEED + 1_000 + index, drop=drop)
            rates = {"gate": tally.fail / decisions, "test": tally.alone / decisions}
            table[f"{cell.name} drop={drop:g}"] = rates
            print(f"{cell.name:48} drop {drop:g}: gate {rates['gate']:.1%}, test {rates['test']:.1%}", flush=True)
    return table


async def pools() -> dict[str, AnswerPool]:
    """Return the recorded pools by prompt version."""
    cases = chosen_cases(await load_dataset(CASES))
    return {path.name[9:11]: read_pool(path, cases) for path in sorted(POOLS.glob("helpdesk-v?.jsonl.gz"))}


def example_gates() -> list[GateSpec]:
    """Return the example's own comparisons with the release before."""
    entries = yaml.safe_load((EXAMPLE / "shipway.yaml").read_text(encoding="utf-8"))["gates"]
    return [spec for spec in parse_gates(entries) if isinstance(spec, NonRegressionGate)]


def on_recorded(recorded: dict[str, AnswerPool]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the A/A figures of v1, and how often the example's gate errs about v2 (better) and v3 (worse).

    Raises:
        ValueError: too few of the A/A decisions saw any difference.
    """
    specs = example_gates()
    unchanged = decide(specs, (recorded["v1"], None), POOL_REPEATS, POOL_DECISIONS, SEED)
    if unchanged.discordant < FEWEST_DISCORDANT:
        raise ValueError(f"only {unchanged.discordant} A/A decisions saw a difference; {FEWEST_DISCORDANT} are needed")
    better = decide(specs, (recorded["v2"], recorded["v1"]), POOL_REPEATS, EXAMPLE_DECISIONS, SEED + 1)
    worse = decide(specs, (recorded["v3"], recorded["v1"]), POOL_REPEATS, EXAMPLE_DECISIONS, SEED + 2)
    summary = {
        "aa_false_block_rate": unchanged.fail / unchanged.decisions,
        "aa_inconclusive_rate": unchanged.inconclusive / unchanged.decisions,
        "aa_decisions": unchanged.decisions,
        "aa_discordant": unchanged.discordant,
        **_with_interval("v2_blocked_rate", better.fail, better),
        **_with_interval("v3_passed_rate", worse.passed, worse),
    }
    return summary, {"aa": asdict(unchanged), "v2": asdict(better), "v3": asdict(worse)}


def _with_interval(name: str, hits: int, of: Decisions) -> dict[str, float]:
    return {
        name: hits / of.decisions,
        f"{name}_lower95": clopper_pearson_lower(hits, of.decisions, 0.025),
        f"{name}_upper95": clopper_pearson_upper(hits, of.decisions, 0.025),
    }


def _line(tally: Tally) -> str:
    return "  ".join(
        f"{name} {count / tally.decisions:6.1%}" for name, count in tally.as_dict().items() if name != "decisions"
    )


def on_simulated(decisions: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the rates of false blocks over the grid, and the power."""
    tallies, summary = blocks(decisions)
    found = power(decisions)
    summary["power_10pt_n100"] = found[f"{Cell(100, 1, 1, 1, 1).name} drop=0.1"]["test"]
    return summary, {"cells": {name: tally.as_dict() for name, tally in tallies.items()}, "power": found}


def measured(part: str, decisions: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of one part or of both."""
    summary: dict[str, float] = {}
    details: dict[str, Any] = {}
    if part != "recorded":
        summary, details = on_simulated(decisions)
    if part != "simulated":
        figures, details["recorded"] = on_recorded(asyncio.run(pools()))
        summary |= figures
    return summary, details


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--part", choices=("all", "simulated", "recorded"), default="all")
    parser.add_argument("--dry-run", action="store_true", help="write no result file")
    given = parser.parse_args()
    summary, details = measured(given.part, given.decisions)
    if not given.dry_run:
        path = report.RESULTS / "gates.json"
        before = json.loads(path.read_text(encoding="utf-8")) if given.part != "all" and path.exists() else {}
        report.write("gates", before.get("summary", {}) | summary, before.get("details", {}) | details, PACKAGES)
    report.show(summary)


if __name__ == "__main__":
    main()

"""How often rollouts take back a healthy release, and how many users a bad one harms: Shipway's rules and three others.

    python benchmarks/study_rollouts.py                # all of it; writes benchmarks/results/rollouts.json
    python benchmarks/study_rollouts.py --part harmful # or unchanged, quality: the others' figures stay as they are
    python benchmarks/study_rollouts.py --quick        # two minutes, few rollouts, writes nothing

Whole rollouts in virtual time: 10, 25 and 50 % for 20 minutes each, everybody for 10, over two conversations a second.
Ours run on the project's decision code; the others' rules move by the clock. Each of the others is tuned on separate
seeds to the false alarms that ours were measured to have: for the rows with harm on the same kind of traffic, which
nobody could do in advance, for the unchanged ones on plain traffic, as it is done. What is done is kept in
`.bench/rollouts` until the code changes: an interrupted run goes on where it was.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import report
from rollout_figures import Figures, figures, line, table
from rollout_peers import Counts, Rule, counted, rules, tuned_limit
from rollout_peers import rolled_out as peer_rollout
from rollout_simulation import Outcome, plan_for, rolled_out
from rollout_traffic import HARMFUL, PLAIN, QUALITY, UNCHANGED, UNFAVOURABLE, WORSE, Scenario, Traffic, traffic

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".bench" / "rollouts"
OURS = "Shipway"
CHUNK = 25
PROCESSES = 2
# From fewer rollouts a rate of some per mille is not known; 20,000 runs of the process on events alone had 0.39 %.
FEWEST_FOR_RATE = 500
USUAL_RATE = 0.004
PACKAGES = ("numpy", "scipy")
PARTS = {"unchanged": (*UNCHANGED, *UNFAVOURABLE), "harmful": HARMFUL, "quality": (QUALITY, *WORSE)}
SCENARIOS = {scenario.name: scenario for part in PARTS.values() for scenario in part}
_CODE = ("src/shipway/rollouts", "src/shipway/stats", "benchmarks")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rollouts: of each unchanged scenario, of unfavourable ones, with harm, and for tuning."""

    unchanged: int = 1_000
    unfavourable: int = 200
    harmful: int = 300
    tuning: int = 2_000
    choosing: int = 100

    def of(self, scenario: Scenario) -> int:
        """Return the number of rollouts of a scenario."""
        if scenario in UNCHANGED:
            return self.unchanged
        return self.harmful if scenario.is_harmful else self.unfavourable

    def scaled(self, scale: float) -> "Sizes":
        """Return so many times the rollouts, in whole chunks; tuning costs little and stays."""
        chunks = {
            name: CHUNK * max(1, round(scale * getattr(self, name) / CHUNK))
            for name in ("unchanged", "unfavourable", "harmful")
        }
        return replace(self, **chunks)


QUICK = Sizes(unchanged=20, unfavourable=10, harmful=15, tuning=200, choosing=10)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A peer as it was tuned for one kind of traffic."""

    rule: Rule
    limit: float

    def outcome(self, given: Traffic, scenario: Scenario, counts: Counts) -> Outcome:
        """Roll out under the rule."""
        return peer_rollout(given, scenario, counts, self.rule, self.limit)


def kind_of(scenario: Scenario) -> Scenario:
    """Return the unchanged scenario on whose traffic a row's peers are tuned."""
    if scenario.quality:
        return QUALITY
    for unchanged in (*UNCHANGED[1:], UNFAVOURABLE[0]):
        fields = ("base", "per_s", "spread", "long", "bursts", "incident", "drift", "day")
        if scenario.is_harmful and all(getattr(scenario, name) == getattr(unchanged, name) for name in fields):
            return unchanged
    return PLAIN


def ours(names: Sequence[str], sizes: Sizes) -> dict[str, list[Outcome]]:
    """Return our outcomes by scenario, in the order of the seeds."""
    folder = KEPT / _digest()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (name, first, min(first + CHUNK, sizes.of(SCENARIOS[name])), folder)
        for name in names
        for first in range(0, sizes.of(SCENARIOS[name]), CHUNK)
    ]
    # All scenarios in turns: what an interrupted run has kept is a smaller study.
    jobs.sort(key=lambda job: job[1])
    found: dict[str, list[Outcome]] = {name: [] for name in names}
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for (name, first, *_), chunk in zip(jobs, pool.imap(_chunk, jobs), strict=True):
            found[name] += chunk
            if first + CHUNK >= sizes.of(SCENARIOS[name]):
                print(line(name, OURS, figures(found[name])), flush=True)
    return found


def _chunk(job: tuple[str, int, int, Path]) -> list[Outcome]:
    """Return a few rollouts of a scenario, from an earlier run where there is one."""
    name, first, last, folder = job
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{first}-{last}.json"
    if path.exists():
        return [Outcome(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
    scenario = SCENARIOS[name]
    plan = plan_for(scenario)
    done = [rolled_out(traffic(scenario, number), plan, number, scenario=scenario) for number in range(first, last)]
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps([asdict(outcome) for outcome in done]), encoding="utf-8")
    partial.rename(path)
    return done


def _digest() -> str:
    """Return a digest of the code that decides the figures."""
    files = [path for folder in _CODE for path in sorted((ROOT / folder).glob("*.py"))]
    chosen = [path for path in files if path.parent.name != "benchmarks" or path.stem in _SIMULATING]
    return hashlib.sha256(b"".join(path.read_bytes() for path in chosen)).hexdigest()[:16]


_SIMULATING = ("rollout_simulation", "rollout_traffic")


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers as tuned for one kind of traffic: the best of each, and every setting that was tried."""

    best: dict[str, Tuned]
    tried: tuple[Tuned, ...]


def tuned(kind: Scenario, rate: float, sizes: Sizes) -> Peers:
    """Return each peer at its best for a kind of traffic: least harm among settings of the same false alarms."""
    highest: dict[Rule, list[float]] = {rule: [] for rule in rules()}
    for _, counts in _counted(kind, sizes.tuning, "tuning"):
        for rule, values in highest.items():
            values.append(rule.highest(counts))
    tried = tuple(Tuned(rule, tuned_limit(values, rate)) for rule, values in highest.items())
    harm = np.zeros(len(tried))
    for scenario in _choosing(kind):
        runs = list(_counted(scenario, sizes.choosing, "tuning"))
        means = [np.mean([each.outcome(given, scenario, counts).harmed for given, counts in runs]) for each in tried]
        # Geometric over the rows: each counts as much, however many users it harms.
        harm += np.log(np.array(means) + 0.5)
    best: dict[str, Tuned] = {}
    for place in np.argsort(harm, kind="stable"):
        best.setdefault(tried[place].rule.kind, tried[place])
    return Peers({name: best[name] for name in sorted(best)}, tried)


def _choosing(kind: Scenario) -> Iterator[Scenario]:
    """Yield the scenarios with harm on a kind of traffic."""
    return (scenario for scenario in (*HARMFUL, *WORSE) if kind_of(scenario) == kind and scenario.base == kind.base)


def _counted(scenario: Scenario, number: int, purpose: str) -> Iterator[tuple[Traffic, Counts]]:
    for index in range(number):
        given = traffic(scenario, index, purpose=purpose)
        yield given, counted(given, scenario, index)


def target(rate: float, rollouts: int) -> float:
    """Return the false alarms that peers are tuned to: ours as measured, where that is more than noise."""
    return max(rate, 1.0 / rollouts) if rollouts >= FEWEST_FOR_RATE else USUAL_RATE


def with_peers(found: dict[str, list[Outcome]], rates: dict[str, float], sizes: Sizes) -> tuple[Figures, Figures]:
    """Return the rows of all methods, and how the peers were tuned for each kind of traffic."""
    kept: dict[str, Peers] = {}
    rows: Figures = {}
    for name, outcomes in found.items():
        scenario = SCENARIOS[name]
        kind = kind_of(scenario)
        if kind.name not in kept:
            kept[kind.name] = tuned(kind, target(rates[kind.name], sizes.of(kind)), sizes)
        runs = list(_counted(scenario, len(outcomes), "study"))
        peers = {peer: _outcomes(each, scenario, runs) for peer, each in kept[kind.name].best.items()}
        rows[name] = {method: figures(each) for method, each in {OURS: outcomes, **peers}.items()}
        for peer in peers:
            print(line(name, peer, rows[name][peer]), flush=True)
        if scenario.is_harmful:
            rows[name][OURS]["hindsight"] = _hindsight(kept[kind.name], scenario, runs)
    settings = {
        kind: {peer: {"settings": each.rule.settings, "limit": each.limit} for peer, each in peers.best.items()}
        for kind, peers in kept.items()
    }
    return rows, settings


def _outcomes(peer: Tuned, scenario: Scenario, runs: Sequence[tuple[Traffic, Counts]]) -> list[Outcome]:
    return [peer.outcome(given, scenario, counts) for given, counts in runs]


def _hindsight(peers: Peers, scenario: Scenario, runs: Sequence[tuple[Traffic, Counts]]) -> Figures:
    """Return the setting of any peer that would have harmed the fewest here, had one known which row is coming."""
    harm = {each.rule: [outcome.harmed for outcome in _outcomes(each, scenario, runs)] for each in peers.tried}
    rule = min(harm, key=lambda each: float(np.mean(harm[each])))
    return {
        "rule": f"{rule.kind}, {rule.settings}",
        "harmed_mean": float(np.mean(harm[rule])),
        "harmed_median": float(np.median(harm[rule])),
    }


def summary(rows: Figures) -> dict[str, float]:
    """Return the figures that are watched: false rollbacks over all unchanged scenarios, and harm at five times."""
    unchanged = [rows[scenario.name][OURS] for scenario in UNCHANGED if scenario.name in rows]
    pooled = figures_of_counts(unchanged)
    five = rows["errors x5"]
    peers = [row["harmed_median"] for method, row in five.items() if method != OURS]
    worst = max(unchanged, key=lambda row: float(row["rate"]))
    return {
        **pooled,
        "false_rollback_worst": worst["rate"],
        "false_rollback_worst_upper95": worst["upper95"],
        "false_rollback_shared_incident": rows["A/A shared incident"][OURS]["rate"],
        "median_harmed_5x": five[OURS]["harmed_median"],
        "median_harmed_5x_best_peer": min(peers),
        "median_minutes_5x": five[OURS]["minutes_median"] or math.inf,
    }


def figures_of_counts(rows: Sequence[Figures]) -> dict[str, float]:
    """Return the rate of false rollbacks over several scenarios with its exact bound."""
    outcomes = [Outcome("rolled_back", 0.0, 0)] * sum(row["rolled_back"] for row in rows)
    outcomes += [Outcome("open", 0.0, 0)] * sum(row["rollouts"] - row["rolled_back"] for row in rows)
    found = figures(outcomes)
    return {"false_rollback_rate": found["rate"], "false_rollback_upper95": found["upper95"]}


def measured(part: str, sizes: Sizes) -> tuple[Figures, Figures]:
    """Return the rows and the tuning of one part or of all; the peers of a row need our rate on its kind of traffic."""
    names = [scenario.name for name, scenarios in PARTS.items() if part in ("all", name) for scenario in scenarios]
    kinds = {kind_of(SCENARIOS[name]).name for name in names}
    found = ours([*names, *(kind for kind in sorted(kinds) if kind not in names)], sizes)
    rates = {kind: sum(each.rolled_back for each in found[kind]) / len(found[kind]) for kind in kinds}
    return with_peers({name: found[name] for name in names}, rates, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=("all", *PARTS), default="all")
    parser.add_argument("--quick", action="store_true", help="few rollouts; writes no result file")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the rollouts; done ones are kept")
    given = parser.parse_args()
    path = report.RESULTS / "rollouts.json"
    before: dict[str, Any] = {}
    if given.part != "all" and not given.quick and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["details"]
    rows, settings = measured(given.part, QUICK if given.quick else Sizes().scaled(given.scale))
    rows = {name: found for name in SCENARIOS if (found := rows.get(name) or before.get("rows", {}).get(name))}
    settings = before.get("tuning", {}) | settings
    print("\n".join(table(rows, lambda name: not SCENARIOS[name].is_harmful)))
    if "errors x5" not in rows or PLAIN.name not in rows:
        return
    found = summary(rows)
    if not given.quick:
        report.write("rollouts", found, {"rows": rows, "tuning": settings}, PACKAGES)
    report.show(found)


if __name__ == "__main__":
    main()

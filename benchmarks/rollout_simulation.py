"""Whole rollouts in virtual time: Shipway's own fold, judge, decide and transition over simulated traffic.

Nothing is decided here. `_Control` holds the one row and the snapshot, passes records and time to the project's pure
functions, and obeys; what belongs to the signatures of the project stands in it alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from rollout_traffic import HORIZON_S, Flags, Numbers, Scenario, Traffic, traffic

from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.observation import PAIR, Observation, StoredObservation
from shipway.core.ports import StoredRecord
from shipway.core.record import ERROR, ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.rollouts.actions import Hold, Observed, Restamp, SetWeights
from shipway.rollouts.analysis import Judgement, judge
from shipway.rollouts.baseline import Baseline, baseline_of
from shipway.rollouts.decide import decide
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.folding import fold, fold_observations
from shipway.rollouts.measuring import measures_of
from shipway.rollouts.model import Command, CommandKind, Phase, Rollout, RolloutState
from shipway.rollouts.plan import Plan, Step
from shipway.rollouts.rules import OFF, RULES, WARN, Rules
from shipway.rollouts.traffic import divided, without_candidate
from shipway.rollouts.transitions import transition

ALPHA = 0.01
HARM_RATIO = 2.0
# 15 pairs a minute of 120 conversations: as many judge calls as the peers get.
SHADOW_SHARE = 0.125
MIN_PAIRS = 100
# The controller looks every second; without a bad conversation nothing speaks against the candidate sooner than this.
LOOK_S = 30.0
# How long a paused rollout waits for the person who resumes it.
RESUME_S = 600.0
START_S = 1_750_000_000.0
ENVIRONMENT, ROUTE = "production", RouteName("ask")
STABLE, CANDIDATE = ReleaseId("rel_stable"), ReleaseId("rel_candidate")
_ACTIONS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended: `end` is rolled_back, promoted or open; `at_s` when, from its start."""

    end: str
    at_s: float
    harmed: int
    code: str = ""
    pauses: int = 0

    @property
    def rolled_back(self) -> bool:
        """Whether the candidate was withdrawn."""
        return self.end == "rolled_back"


def plan_for(scenario: Scenario, *, alpha: float = ALPHA) -> Plan:
    """Return the plan of a scenario: its steps with at least 50 conversations each.

    Where answers are judged, copies of stable's requests are compared first, as many a minute as the budget allows, and
    on while there are users; half of alpha is the pairs'.
    """
    shadow = SHADOW_SHARE if scenario.quality else 0.0
    steps = tuple(
        Step(weight, min_conversations=50, min_bake_s=bake_s, shadow=shadow if weight < 1.0 else 0.0)
        for weight, bake_s in scenario.steps
    )
    if scenario.quality:
        steps = (Step(0.0, shadow=shadow, min_pairs=MIN_PAIRS), *steps)
    return Plan(
        steps=steps,
        alpha=alpha,
        harm_ratio=HARM_RATIO,
        events=(ERROR,),
        drain_s=0.0,
        rules=deciding_rules(),
    )


def deciding_rules() -> Rules:
    """Return the default rules without those that have nothing to look at here or only warn: they decide nothing."""
    rules = Rules()
    idle = {
        name: replace(getattr(rules, name), action=OFF)
        for name in RULES
        if getattr(rules, name).action == WARN or name in {"safety", "quality"}
    }
    return replace(rules, **idle)


class _Control:
    """The control plane of one rollout, and the one worker that obeys it."""

    def __init__(self, plan: Plan, number: int, baseline: Baseline | None) -> None:
        route = RouteTraffic(ROUTE, STABLE)
        self._snapshot = Snapshot(ENVIRONMENT, version=1, routes=(route,), dead_man_s=plan.dead_man_s)
        row = new_rollout(
            RolloutId(f"ro_{number}"),
            ENVIRONMENT,
            (ROUTE,),
            releases=(STABLE, CANDIDATE),
            plan=plan,
            now_s=START_S,
        )
        self.row: Rollout = replace(row, evidence=replace(row.evidence, baseline=baseline))
        self._measures = measures_of(plan.metrics, plan.rules, baseline)
        self.pauses = 0
        self._resume_at_s = 0.0

    @property
    def weight(self) -> float:
        """The share of conversations that the candidate gets now."""
        route = self._snapshot.route(ROUTE)
        if route is None:
            return 0.0
        return 1.0 if route.stable == CANDIDATE else route.candidate_weight

    @property
    def owns(self) -> bool:
        """Whether requests are served for this rollout."""
        return self._snapshot.rollout == self.row.id

    @property
    def shadow_share(self) -> float:
        """The share of stable's requests that the candidate is asked as well."""
        route = self._snapshot.route(ROUTE)
        return 0.0 if route is None or route.shadow is None else route.shadow_share

    def see(self, given: Traffic, chosen: slice, bad: list[bool], candidate: list[bool]) -> None:
        """Fold what was served at the present weight."""
        position, weight, rollout = self.row.evidence.cursor, self.weight, self.row.id
        served = zip(
            given.at_s[chosen].tolist(),
            given.conversation[chosen].tolist(),
            given.latency_ms[chosen].tolist(),
            given.tokens[chosen].tolist(),
            bad,
            candidate,
            strict=True,
        )
        records = [
            StoredRecord(position + number, _record(each, weight, rollout)) for number, each in enumerate(served, 1)
        ]
        evidence = fold(
            self.row.evidence, records, rollout=rollout, bad_events=self.row.plan.events, measures=self._measures
        )
        self.row = replace(self.row, evidence=evidence)

    def compare(self, pairs: list[tuple[float, int, float]]) -> None:
        """Fold compared pairs of (when, conversation, candidate minus stable)."""
        position, rollout, weight = self.row.evidence.observed, self.row.id, self.weight
        observations = [
            StoredObservation(
                position + number,
                Observation(
                    f"pair/{conversation}", START_S + at_s, PAIR, ENVIRONMENT, ROUTE, CANDIDATE, difference,
                    candidate_weight=weight, rollout=rollout, conversation=f"c{conversation}",
                ),
            )
            for number, (at_s, conversation, difference) in enumerate(pairs, 1)
        ]  # fmt: skip
        evidence = fold_observations(self.row.evidence, observations, rollout=rollout, measures=self._measures)
        self.row = replace(self.row, evidence=evidence)

    def tick(self, now_s: float) -> None:
        """Do what is due, as the controller does; a paused rollout is resumed by its person after a while."""
        self._answer_pause(now_s)
        for _ in range(_ACTIONS):
            judgement = self._judged(now_s)
            observed = Observed(self._snapshot, (), epoch=1, now_s=now_s, candidate_healthy=True)
            action = decide(self.row, judgement, observed)
            match action:
                case Hold():
                    return
                case Restamp():
                    self._snapshot = replace(self._snapshot, epoch=1, version=self._snapshot.version + 1)
                case SetWeights(None):
                    dropped = without_candidate(self._snapshot, self.row, {})
                    self._snapshot = replace(dropped, version=dropped.version + 1)
                case SetWeights(division) if division is not None:
                    moved = divided(self._snapshot, self.row, division, {})
                    self._snapshot = replace(moved, version=moved.version + 1)
            # The history is for people and grows.
            self.row = replace(transition(self.row, action, judgement, observed), outbox=())

    def _judged(self, now_s: float) -> Judgement:
        row = self.row
        confirmed_s = row.times.step_s if row.phase is Phase.APPLIED else None
        elapsed_s = 0.0 if confirmed_s is None else now_s - confirmed_s
        return judge(row.evidence, row.plan, row.step, elapsed_s=elapsed_s, now_s=now_s, acknowledged=row.acknowledged)

    def _answer_pause(self, now_s: float) -> None:
        if self.row.state is not RolloutState.PAUSED:
            self._resume_at_s = 0.0
        elif not self._resume_at_s:
            self.pauses += 1
            self._resume_at_s = now_s + RESUME_S
        elif now_s >= self._resume_at_s:
            self.row = replace(self.row, command=Command(CommandKind.RESUME, "person", "looked", now_s))


_Served = tuple[float, int, float, int, bool, bool]


def _record(served: _Served, weight: float, rollout: RolloutId | None) -> ServedRequest:
    at_s, conversation, latency_ms, tokens, bad, candidate = served
    return ServedRequest(
        "", START_S + at_s, ENVIRONMENT, ROUTE, CANDIDATE if candidate else STABLE, candidate, weight, rollout, 1,
        f"c{conversation}", "header", "t", "k", 500 if bad else 200, latency_ms,
        tokens_out=tokens, cost_usd=tokens * 1e-5, events=(ERROR,) if bad else (),
    )  # fmt: skip


def baseline_for(scenario: Scenario, number: int) -> Baseline:
    """Return what was known of stable: a tenth of the conversations of two hours in which nothing happened."""
    quiet = replace(scenario, ratio=1.0, extra=0.0, incident=False, drift=False)
    if scenario.drift:
        quiet = replace(quiet, base=scenario.base / 2.0)
    before = traffic(quiet, number, purpose="before")
    some = before.conversation % 10 == 0
    bad = before.bad_stable[some] & (not scenario.quality)
    served = zip(
        (before.at_s[some] - HORIZON_S).tolist(),
        before.conversation[some].tolist(),
        before.latency_ms[some].tolist(),
        before.tokens[some].tolist(),
        bad.tolist(),
        [False] * bad.size,
        strict=True,
    )
    records = [_record(each, 0.0, None) for each in served]
    return baseline_of(records, release=STABLE, bad_events=(ERROR,), now_s=START_S)


def rolled_out(given: Traffic, plan: Plan, number: int, *, scenario: Scenario) -> Outcome:
    """Roll a candidate out over a traffic; what it harms after its promotion counts until the horizon."""
    control = _Control(plan, number, baseline_for(scenario, number))
    control.tick(START_S)
    index, now_s = 0, 0.0
    harmed: set[int] = set()
    # What is judged bad is no event of its request.
    fails = (given.bad_candidate, given.bad_stable)
    if scenario.quality:
        fails = (np.zeros_like(fails[0]), np.zeros_like(fails[1]))
    copied = _copied(given, number)
    while now_s < HORIZON_S and not control.row.finished:
        weight, shadow = control.weight, control.shadow_share
        now_s, end = _until(given, fails, index, now_s, weight)
        chosen = slice(index, end)
        candidate = given.place[chosen] < weight
        if control.owns and end > index:
            bad = np.where(candidate, fails[0][chosen], fails[1][chosen])
            control.see(given, chosen, bad.tolist(), candidate.tolist())
            if shadow:
                control.compare(list(_pairs(given, chosen, (copied[chosen] < shadow) & ~candidate)))
        harmed.update(given.conversation[chosen][candidate & given.harmful[chosen]].tolist())
        index = end
        control.tick(START_S + now_s)
    harmed.update(_harmed_after(given, index, control.weight))
    return _outcome(control, now_s, len(harmed))


def _until(given: Traffic, fails: tuple[Flags, Flags], index: int, now_s: float, weight: float) -> tuple[float, int]:
    """Return when the controller looks next, and the first request after that: within a second of a bad one."""
    end = int(np.searchsorted(given.at_s, now_s + LOOK_S))
    bad = np.where(given.place[index:end] < weight, fails[0][index:end], fails[1][index:end])
    if not bad.any():
        return now_s + LOOK_S, end
    first_s = float(np.ceil(given.at_s[index + int(bad.argmax())]))
    look_s = min(now_s + LOOK_S, max(first_s, now_s + 1.0))
    return look_s, index + int(np.searchsorted(given.at_s[index:end], look_s))


def _copied(given: Traffic, number: int) -> Numbers:
    """Draw for each request whether it is copied: when the number is below the share."""
    rng = np.random.Generator(np.random.Philox([number, 11]))
    return rng.random(given.at_s.size)


def _pairs(given: Traffic, chosen: slice, copied: Flags) -> Iterator[tuple[float, int, float]]:
    """Yield the judged pairs of what was copied: the candidate's answer minus stable's, by passed and failed."""
    difference = given.bad_twin[chosen].astype(float) - given.bad_candidate[chosen]
    yield from zip(
        given.at_s[chosen][copied].tolist(),
        given.conversation[chosen][copied].tolist(),
        difference[copied].tolist(),
        strict=True,
    )


def _harmed_after(given: Traffic, index: int, weight: float) -> list[int]:
    met = (given.place[index:] < weight) & given.harmful[index:]
    return [int(each) for each in given.conversation[index:][met]]


def _outcome(control: _Control, now_s: float, harmed: int) -> Outcome:
    row = control.row
    if row.state in (RolloutState.ROLLED_BACK, RolloutState.ROLLING_BACK):
        return Outcome("rolled_back", now_s, harmed, row.code.value, control.pauses)
    if row.state is RolloutState.COMPLETED:
        return Outcome("promoted", now_s, harmed, row.code.value, control.pauses)
    return Outcome("open", HORIZON_S, harmed, row.code.value, control.pauses)

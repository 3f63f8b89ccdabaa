"""What people use instead: three kinds of rules, written from the products' own descriptions and sources.

Each rule gives a statistic at each of its looks and rolls back at the first one above its limit; the limit is tuned on
separate traffic. They move from step to step by the clock alone, as they do where they come from.

- Fixed threshold: the share of failed candidate requests of an interval is too high more than `failures` times (Argo
  Rollouts' `successCondition` and `failureLimit` on a Prometheus or web metric, as a background analysis). Its
  statistic is the (failures + 1)-th highest share so far.
- Peeking z-test: two proportions, pooled variance, every 15 s.
- Kayenta-like: every ten minutes the arms' failure rates by minute are compared by the Mann-Whitney test; worse when
  the interval of the shift lies above a quarter of its estimate (tolerance 0.25) and the effect, the ratio of the
  means, above what is allowed. Kayenta uses 98 %; the level and the looking back are chosen in tuning.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rollout_simulation import Outcome
from rollout_traffic import HORIZON_S, Flags, Numbers, Scenario, Traffic
from scipy import special

BUCKET_S = 15.0
BUCKETS = int(HORIZON_S / BUCKET_S)
_MINUTE = int(60.0 / BUCKET_S)
_KAYENTA_MINUTES = 10
_TOLERANCE = 0.25
# Judge calls a minute and arm, where answers are sampled; a pair with a shadow copy takes two.
JUDGED_PER_MINUTE = 15.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests and bad ones of both arms by bucket of 15 s, and the number of the step each bucket lies in."""

    requests: Numbers
    bad: Numbers
    stable_requests: Numbers
    stable_bad: Numbers
    step: Numbers


Statistic = Callable[[Counts], Numbers]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one kind with its settings; `statistic` is NaN where it does not look."""

    kind: str
    settings: str
    statistic: Statistic

    def highest(self, counts: Counts) -> float:
        """Return the largest statistic of a rollout: it is rolled back under any smaller limit."""
        found = self.statistic(counts)
        return float(np.nanmax(found)) if np.isfinite(found).any() else -math.inf

    def first_above(self, counts: Counts, limit: float) -> float | None:
        """Return when the rule rolls back, in seconds from the start; None when never."""
        with np.errstate(invalid="ignore"):
            above = self.statistic(counts) > limit
        return float(int(above.argmax()) + 1) * BUCKET_S if above.any() else None


def weights_at(scenario: Scenario, at_s: Numbers) -> Numbers:
    """Return the candidate's share at each time when the clock alone moves the steps."""
    ends = np.cumsum([bake_s for _, bake_s in scenario.steps])
    weights = np.array([weight for weight, _ in scenario.steps] + [1.0])
    return np.asarray(weights[np.searchsorted(ends, at_s, side="right")])


def counted(given: Traffic, scenario: Scenario, number: int) -> Counts:
    """Count a rollout's requests under the clock's steps, until everybody is on the candidate for good."""
    weight = weights_at(scenario, given.at_s)
    candidate = given.place < weight
    bad = np.where(candidate, given.bad_candidate, given.bad_stable)
    seen = given.at_s < sum(bake_s for _, bake_s in scenario.steps)
    if scenario.quality:
        seen = seen & _judged(given, weight, candidate, number)
    bucket = np.minimum((given.at_s / BUCKET_S).astype(np.int64), BUCKETS - 1)

    def of(chosen: Flags) -> Numbers:
        return np.bincount(bucket[chosen & seen], minlength=BUCKETS).astype(np.float64)

    ends = np.cumsum([bake_s for _, bake_s in scenario.steps])
    step = np.searchsorted(ends, np.arange(BUCKETS) * BUCKET_S, side="right").astype(np.float64)
    return Counts(of(candidate), of(candidate & bad), of(~candidate), of(~candidate & bad), step)


def _judged(given: Traffic, weight: Numbers, candidate: Flags, number: int) -> Flags:
    """Draw the answers that are judged: the same number on both arms, as far as there are any."""
    rng = np.random.Generator(np.random.Philox([number, 7]))
    per_minute = max(1.0, given.at_s.size / HORIZON_S * 60.0)
    share = np.where(candidate, weight, 1.0 - weight) * per_minute
    return np.asarray(rng.random(given.at_s.size) * share < JUDGED_PER_MINUTE)


def rules() -> Iterator[Rule]:
    """Yield every rule that tuning chooses from."""
    for minutes in (1, 2, 5, 10):
        for failures in (0, 1, 3):
            yield Rule("fixed threshold", f"{minutes} min, failureLimit {failures}", _fixed(minutes, failures))
    for scope in ("rollout", "step", "10 min"):
        for least in (20, 50, 100, 200):
            yield Rule("peeking z-test", f"since {scope}, at least {least} requests", _z_test(scope, least))
    for level in (0.9, 0.95, 0.98, 0.99, 0.998):
        for growing in (False, True):
            name = f"{level:.1%}, {'all intervals' if growing else 'last interval'}"
            yield Rule("Kayenta-like", name, _kayenta(level, growing=growing))


def _fixed(minutes: int, failures: int) -> Statistic:
    size = minutes * _MINUTE

    def statistic(counts: Counts) -> Numbers:
        requests = counts.requests.reshape(-1, size).sum(axis=1)
        shares = np.divide(
            counts.bad.reshape(-1, size).sum(axis=1), requests, out=np.full(requests.size, np.nan), where=requests > 0
        )
        found = np.full(BUCKETS, np.nan)
        highest: list[float] = []
        for look, share in enumerate(shares.tolist()):
            # An interval without requests is no measurement.
            if math.isnan(share):
                continue
            highest = sorted([*highest, share], reverse=True)[: failures + 1]
            if len(highest) > failures:
                found[(look + 1) * size - 1] = highest[failures]
        return found

    return statistic


def _z_test(scope: str, least: int) -> Statistic:
    def statistic(counts: Counts) -> Numbers:
        n, bad, other_n, other_bad = (
            _since(values, counts.step, scope)
            for values in (counts.requests, counts.bad, counts.stable_requests, counts.stable_bad)
        )
        enough = (n >= least) & (other_n >= least)
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = (bad + other_bad) / (n + other_n)
            z = (bad / n - other_bad / other_n) / np.sqrt(pooled * (1.0 - pooled) * (1.0 / n + 1.0 / other_n))
        return np.where(enough & np.isfinite(z), z, np.nan)

    return statistic


def _since(values: Numbers, step: Numbers, scope: str) -> Numbers:
    """Return the running sums since the rollout began, since the step began, or over the last ten minutes."""
    total = np.cumsum(values)
    if scope == "rollout":
        return np.asarray(total)
    before = np.concatenate(([0.0], total))
    if scope == "step":
        return np.asarray(total - before[np.searchsorted(step, step, side="left")])
    places = np.arange(values.size)
    return np.asarray(total - before[np.maximum(0, places + 1 - 10 * _MINUTE)])


def _kayenta(level: float, *, growing: bool) -> Statistic:
    def statistic(counts: Counts) -> Numbers:
        new, old = (
            _rates_by_minute(bad, requests)
            for bad, requests in ((counts.bad, counts.requests), (counts.stable_bad, counts.stable_requests))
        )
        found = np.full(BUCKETS, np.nan)
        for end in range(_KAYENTA_MINUTES, new.size + 1, _KAYENTA_MINUTES):
            begin = 0 if growing else end - _KAYENTA_MINUTES
            effect = kayenta_effect(new[begin:end], old[begin:end], level)
            if effect is not None:
                found[end * _MINUTE - 1] = effect
        return found

    return statistic


def _rates_by_minute(bad: Numbers, requests: Numbers) -> Numbers:
    of, wrong = requests.reshape(-1, _MINUTE).sum(axis=1), bad.reshape(-1, _MINUTE).sum(axis=1)
    return np.asarray(np.divide(wrong, of, out=np.full(of.size, np.nan), where=of > 0))


def kayenta_effect(new: Numbers, old: Numbers, level: float) -> float | None:
    """Return the ratio of the means when the metric is classified as high, 0 when not; None without data.

    Source: Kayenta's MannWhitneyClassifier; the interval is that of the ordered differences, normal approximation.
    """
    new, old = new[np.isfinite(new)], old[np.isfinite(old)]
    if not new.size or not old.size:
        return None
    differences = np.sort((new[:, None] - old[None, :]).ravel())
    estimate = float(np.median(differences))
    spread = math.sqrt(new.size * old.size * (new.size + old.size + 1) / 12.0)
    rank = math.floor(differences.size / 2.0 - float(special.ndtri(0.5 + level / 2.0)) * spread)
    lower = float(differences[max(0, rank - 1)]) if rank >= 1 else -math.inf
    if not (estimate > 0.0 and lower > _TOLERANCE * estimate):
        return 0.0
    return float(new.mean() / old.mean()) if old.any() else math.inf


def rolled_out(given: Traffic, scenario: Scenario, counts: Counts, rule: Rule, limit: float) -> Outcome:
    """Roll a candidate out under a rule; what it harms after its promotion counts until the horizon."""
    at_s = rule.first_above(counts, limit)
    until_s = HORIZON_S if at_s is None else at_s
    met = (given.place < weights_at(scenario, given.at_s)) & given.harmful & (given.at_s < until_s)
    harmed = int(np.unique(given.conversation[met]).size)
    if at_s is not None:
        return Outcome("rolled_back", at_s, harmed)
    return Outcome("promoted", sum(bake_s for _, bake_s in scenario.steps), harmed)


def tuned_limit(highest: Sequence[float], rate: float) -> float:
    """Return the smallest limit under which at most this share of unchanged candidates is rolled back."""
    ordered = sorted(highest, reverse=True)
    allowed = math.floor(rate * len(ordered) + 1e-9)
    # A rule that never spoke keeps its own least limit: anything above "not worse".
    return max(ordered[allowed], 0.0) if allowed < len(ordered) else 0.0

"""Seeded traffic for `study_rollouts.py`: what every request would meet on either arm, before anybody has assigned it.

All rules are given the same traffic. A request has a fate on stable and one on the candidate; where they differ, the
candidate is the cause: those are the users whom a rule lets be harmed.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

SEED = 20_304
HORIZON_S = 10_800.0
STEPS = ((0.1, 1_200.0), (0.25, 1_200.0), (0.5, 1_200.0), (1.0, 600.0))
MANY_STEPS = tuple((weight, 500.0) for weight in (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0))
INCIDENT_S = 1_200.0
INCIDENT_RATE = 0.12
_DAY_S = 3_600.0
_WORST_RATE = 0.95
# Conversations of one to three requests, 1.4 on average, 40 s apart.
_LENGTHS = (0.7, 0.2, 0.1)
_GAP_S = 40.0
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the world is like during a rollout.

    `ratio` and `extra` make the candidate's bad rate `base * ratio + extra`. `spread` is the shape of the gamma factor
    on the rates of one conversation (or one user's, with `bursts`): 0 for none, small for a few that fail often.
    `quality` scenarios are about judged answers: `base` and `extra` are shares of bad ones.
    """

    name: str
    base: float = 0.02
    ratio: float = 1.0
    extra: float = 0.0
    per_s: float = 2.0
    spread: float = 0.0
    long: bool = False
    bursts: bool = False
    pinned: bool = False
    incident: bool = False
    drift: bool = False
    day: bool = False
    quality: bool = False
    steps: tuple[tuple[float, float], ...] = STEPS

    @property
    def is_harmful(self) -> bool:
        """Whether the candidate is worse."""
        return self.ratio > 1.0 or self.extra > 0.0


PLAIN = Scenario("A/A plain")
QUALITY = Scenario("A/A judged quality", base=0.1, quality=True)
# What an unchanged release must survive; the summary is about these.
UNCHANGED = (
    PLAIN,
    Scenario("A/A heavy users", per_s=1.0, spread=0.08, long=True),
    Scenario("A/A shared incident", incident=True),
    Scenario("A/A weight changes", drift=True, steps=MANY_STEPS),
    Scenario("A/A day and night", day=True),
    Scenario("A/A dependent conversations", spread=0.2, bursts=True),
)
UNFAVOURABLE = (
    Scenario("A/A base 0.1 %", base=0.001),
    Scenario("A/A never bad", base=0.0),
    Scenario("A/A users pinned to an arm", spread=0.2, bursts=True, pinned=True),
    Scenario("no traffic", per_s=0.0),
)
RATIOS = (2.0, 3.0, 5.0, 10.0)
HARMFUL = (
    *(Scenario(f"errors x{ratio:g}", ratio=ratio) for ratio in RATIOS),
    Scenario("errors 0 to 2 %", base=0.0, extra=0.02),
    Scenario("errors x10, base 0.1 %", base=0.001, ratio=10.0),
    Scenario("errors x5, heavy users", ratio=5.0, per_s=1.0, spread=0.08, long=True),
    Scenario("errors x5, shared incident", ratio=5.0, incident=True),
)
DROPS = (0.05, 0.1, 0.2)
WORSE = tuple(replace(QUALITY, name=f"quality -{drop:g}", extra=drop) for drop in DROPS)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in the order of their arrival.

    `place` is the conversation's draw in [0, 1): below the weight it is the candidate's. `bad_twin` is how stable fares
    with the same request once more, for pairs with a shadow copy. Latency and length are the same on either arm.
    """

    at_s: Numbers
    conversation: Indices
    place: Numbers
    bad_stable: Flags
    bad_candidate: Flags
    bad_twin: Flags
    latency_ms: Numbers
    tokens: Indices

    @property
    def harmful(self) -> Flags:
        """Requests that are bad on the candidate and would not be on stable."""
        return self.bad_candidate & ~self.bad_stable


def traffic(scenario: Scenario, number: int, *, purpose: str = "study") -> Traffic:
    """Return the traffic of one rollout; the same arguments, the same traffic."""
    # The candidate's rates are not part of the seed: harm scenarios and A/A of one kind share their arrivals.
    key = zlib.crc32(f"{purpose}/{scenario.name}".encode())
    rng = np.random.Generator(np.random.Philox([SEED, key + number * 2**32]))
    begin_s, user = _beginnings(scenario, rng)
    size = _lengths(scenario, rng, begin_s.size)
    conversation = np.repeat(np.arange(begin_s.size), size)
    at_s = begin_s[conversation] + _offsets(rng, size)
    factor = _factors(scenario, rng, user)[conversation]
    place = rng.random(user.max(initial=-1) + 1)[user] if scenario.pinned else rng.random(begin_s.size)
    order = np.argsort(at_s, kind="stable")
    order = order[at_s[order] < HORIZON_S]
    at_s, conversation, factor = at_s[order], conversation[order], factor[order]
    stable, candidate = _rates(scenario, rng, at_s, factor)
    luck, twin = rng.random(at_s.size), rng.random(at_s.size)
    # Some conversations are about more than others.
    size_of = np.exp(rng.normal(0.0, 0.4, begin_s.size))[conversation]
    tokens = np.ceil(150.0 * size_of * np.exp(rng.normal(0.0, 0.5, at_s.size))).astype(np.int64)
    return Traffic(
        at_s=at_s,
        conversation=conversation,
        place=place[conversation],
        bad_stable=luck < stable,
        bad_candidate=luck < candidate,
        bad_twin=twin < stable,
        latency_ms=(200.0 + 3.0 * tokens * np.exp(rng.normal(0.0, 0.3, at_s.size))).astype(np.float64),
        tokens=tokens,
    )


def _beginnings(scenario: Scenario, rng: np.random.Generator) -> tuple[Numbers, Indices]:
    """Draw when each conversation begins, and whose it is."""
    if not scenario.bursts:
        begin_s = np.sort(rng.random(rng.poisson(scenario.per_s * HORIZON_S)) * HORIZON_S)
        if scenario.day:
            # A tenth of the traffic at night.
            begin_s = begin_s[rng.random(begin_s.size) < 0.55 + 0.45 * np.sin(2.0 * np.pi * begin_s / _DAY_S)]
        return begin_s, np.arange(begin_s.size)
    # Bursts of 4 conversations on average, some of a hundred, 20 s apart.
    users = rng.poisson(scenario.per_s * HORIZON_S / 4.0)
    size = np.minimum(1 + rng.pareto(1.5, users) * 1.5, 100).astype(np.int64)
    user = np.repeat(np.arange(users), size)
    return (rng.random(users) * HORIZON_S)[user] + _offsets(rng, size, gap_s=20.0), user


def _lengths(scenario: Scenario, rng: np.random.Generator, conversations: int) -> Indices:
    if scenario.quality:
        return np.ones(conversations, dtype=np.int64)
    if scenario.long:
        return np.minimum(1 + rng.pareto(1.3, conversations), _LONGEST).astype(np.int64)
    return rng.choice(np.arange(1, len(_LENGTHS) + 1), conversations, p=_LENGTHS)


def _offsets(rng: np.random.Generator, size: Indices, *, gap_s: float = _GAP_S) -> Numbers:
    """Draw how long after its group's beginning each member comes; the first at once."""
    if not size.sum():
        return np.zeros(0)
    gaps = rng.exponential(gap_s, int(size.sum()))
    first = np.concatenate(([0], np.cumsum(size)[:-1]))
    gaps[first] = 0.0
    total = np.cumsum(gaps)
    return total - np.repeat(total[first], size)


def _factors(scenario: Scenario, rng: np.random.Generator, user: Indices) -> Numbers:
    if not scenario.spread:
        return np.ones(user.size)
    drawn = rng.gamma(scenario.spread, 1.0 / scenario.spread, int(user.max(initial=-1)) + 1)
    return drawn[user]


def _rates(scenario: Scenario, rng: np.random.Generator, at_s: Numbers, factor: Numbers) -> tuple[Numbers, Numbers]:
    """Return the chance of each request to be bad on stable and on the candidate."""
    base = np.full(at_s.size, scenario.base)
    if scenario.drift:
        base *= 0.5 + at_s / 3_600.0
    if scenario.day:
        # Batch jobs at night fail more.
        base *= 1.5 - np.sin(2.0 * np.pi * at_s / _DAY_S)
    if scenario.quality:
        # Hard questions are hard for both: the bad share of a question is Beta(base, 1 - base) over 4.
        factor = rng.beta(4.0 * scenario.base, 4.0 * (1.0 - scenario.base), at_s.size) / scenario.base
    stable = base * factor
    # What is worse spoils good answers, as many as there are: `extra` is the drop of their mean.
    worse = (1.0 - stable) * (scenario.extra / (1.0 - scenario.base)) if scenario.quality else scenario.extra
    candidate = stable * scenario.ratio + worse
    if scenario.incident:
        start_s = rng.uniform(300.0, 2_700.0)
        ill = ((at_s >= start_s) & (at_s < start_s + INCIDENT_S)) * INCIDENT_RATE
        # The provider's failures come on top, for either arm alike.
        stable, candidate = np.maximum(stable, ill), np.maximum(candidate, ill + (candidate - stable))
    return np.minimum(stable, _WORST_RATE), np.minimum(candidate, _WORST_RATE)

"""The watch over a release after it was promoted: every conversation, for as long as the plan says. Pure.

There is no stable arm any more, only the rate of bad conversations that was known at the promotion. An alarm says that
it has risen, not that the release is the cause; therefore the default is to propose the way back.
"""

import base64
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from shipway.core.ports import StoredRecord
from shipway.rollouts.baseline import known_bad_rate
from shipway.rollouts.evidence import CanaryEvidence
from shipway.stats.cusum import CusumState, add_conversation, alarmed, begin, threshold, turn_bad

PROPOSE, ROLLBACK, OFF = "propose", "rollback", "off"
WATCH_ACTIONS = (PROPOSE, ROLLBACK, OFF)
# Conversations that are remembered, in two generations: the older is dropped when the newer is full.
_GENERATION = 1024
_BAD_BIT = 1


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """How a promoted release is watched.

    False alarms are on average at least `mean_run` conversations apart while the rate is what it was; `ratios` are the
    multiples of that rate which are looked for.
    """

    action: str = PROPOSE
    for_s: float = 86_400.0
    mean_run: float = 100_000.0
    ratios: tuple[float, ...] = (2.0, 5.0)

    @classmethod
    def off(cls) -> "WatchPlan":
        """Return the plan of rollouts that were started before there was a watch."""
        return cls(action=OFF)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "WatchPlan":
        """Return the plan of a JSON form."""
        return cls(**{**data, "ratios": tuple(data.get("ratios", cls().ratios))})


def watch_problems(plan: WatchPlan) -> Iterator[str]:
    """Yield what makes a watch impossible, one line a fault with key and value."""
    if plan.action not in WATCH_ACTIONS:
        yield f"watch.action: {plan.action!r} is unknown; use one of {', '.join(WATCH_ACTIONS)}"
    if not 0.0 < plan.for_s < math.inf:
        yield f"watch.for_s: {plan.for_s!r} is not a time in seconds"
    if not 1.0 < plan.mean_run < math.inf:
        yield f"watch.mean_run: {plan.mean_run!r} must exceed 1; conversations between false alarms are meant"
    if not plan.ratios or not all(1.0 < ratio < math.inf for ratio in plan.ratios):
        yield f"watch.ratios: {list(plan.ratios)!r} must be multiples above 1 of the known rate"


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen since a promotion; saved with the rollout in one write.

    `recent` are the remembered conversations as (hash, turned bad) in two generations, older first.
    """

    cursor: int
    started_s: float
    cusum: CusumState
    conversations: int = 0
    bad: int = 0
    newest_s: float = 0.0
    recent: tuple[Mapping[int, bool], Mapping[int, bool]] = ({}, {})

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "cursor": self.cursor,
            "started_s": self.started_s,
            "cusum": self.cusum.to_dict(),
            "conversations": self.conversations,
            "bad": self.bad,
            "newest_s": self.newest_s,
            "recent": [_packed(generation) for generation in self.recent],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Watch":
        """Return the watch of a JSON form."""
        older, newer = (_unpacked(text) for text in data["recent"])
        return cls(**{**data, "cusum": CusumState.from_dict(data["cusum"]), "recent": (older, newer)})


def start_watch(plan: WatchPlan, evidence: CanaryEvidence, *, cursor: int, now_s: float) -> Watch | None:
    """Return the watch over what was just promoted; None when it is off or no rate was known.

    The rate is the highest that stable's conversations before and during the rollout, or the candidate's own, may have.
    """
    total = evidence.total()
    arms = [(arm.bad, arm.conversations) for arm in (total.stable, total.candidate)]
    rate = known_bad_rate(evidence.baseline, arms)
    if plan.action == OFF or rate is None:
        return None
    return Watch(cursor, now_s, CusumState.start(rate, plan.ratios), newest_s=now_s)


def fold_watch(watch: Watch, records: Sequence[StoredRecord], *, release: str, bad_events: Collection[str]) -> Watch:
    """Return the watch after records in commit order; those up to its cursor and of other releases are skipped."""
    cursor, cusum, newest_s = watch.cursor, watch.cusum, watch.newest_s
    conversations, turned = watch.conversations, watch.bad
    older, newer = watch.recent[0], dict(watch.recent[1])
    for stored in records:
        record = stored.record
        if stored.position <= cursor:
            continue
        cursor = stored.position
        if record.release != release or record.shadow_of:
            continue
        newest_s = max(newest_s, record.at_s)
        key = _hash(record.conversation)
        was_bad = newer.get(key, older.get(key))
        is_bad = not was_bad and not frozenset(bad_events).isdisjoint(record.events)
        turned += is_bad
        if was_bad is None:
            conversations += 1
            cusum = add_conversation(cusum, bad=True) if is_bad else begin(cusum)
        elif is_bad:
            cusum = turn_bad(cusum)
        newer[key] = bool(was_bad) or is_bad
        if len(newer) >= _GENERATION:
            older, newer = newer, {}
    return replace(
        watch,
        cursor=cursor,
        cusum=cusum,
        conversations=conversations,
        bad=turned,
        newest_s=newest_s,
        recent=(older, newer),
    )


def watch_ended(watch: Watch, plan: WatchPlan, *, now_s: float) -> bool:
    """Tell whether the release has been watched for as long as planned."""
    return now_s - watch.started_s >= plan.for_s


def watch_alarm(watch: Watch, plan: WatchPlan) -> str:
    """Return why the release should be looked at; empty while nothing is wrong."""
    if not alarmed(watch.cusum, plan.mean_run):
        return ""
    return (
        f"{watch.bad} of {watch.conversations} conversations since the promotion turned bad; at most"
        f" {watch.cusum.base_rate:.2%} was known before. The sum {max(watch.cusum.sums):.1f} is over"
        f" {threshold(watch.cusum, plan.mean_run):.1f} (one false alarm in {plan.mean_run:g} conversations)"
    )


def _hash(conversation: str) -> int:
    raw = blake2b(conversation.encode(), digest_size=8, person=b"watch").digest()
    # The lowest bit is free for the flag.
    return int.from_bytes(raw, "big") & ~_BAD_BIT


def _packed(generation: Mapping[int, bool]) -> str:
    values = sorted(key | bad for key, bad in generation.items())
    return base64.b64encode(struct.pack(f">{len(values)}Q", *values)).decode()


def _unpacked(text: str) -> dict[int, bool]:
    raw = base64.b64decode(text)
    values = struct.unpack(f">{len(raw) // 8}Q", raw)
    return {value & ~_BAD_BIT: bool(value & _BAD_BIT) for value in values}

"""What a rollout has seen so far: counts per arm and weight, the running tests, and which conversations were counted.

Cursor, sums and memory are one value, saved with the rollout in one write: after a crash the next controller folds
exactly the records that the last saved evidence had not seen.

A conversation is judged only at the weight it was first seen at, and by one bad event at most. Then its chance of being
the candidate's is that weight exactly; conversations that outlive a step would be a biased sample of either arm. The
plan's metrics obey the same: one event, one first value, one pair per conversation.
"""

import base64
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.rollouts.baseline import Baseline
from shipway.rollouts.curve import Curve
from shipway.rollouts.metrics import MetricSums
from shipway.rollouts.outcomes import CandidateOutcomes
from shipway.rollouts.windows import Windows
from shipway.stats.sample_ratio import SampleRatioState
from shipway.stats.sequential import EventShareState

# A tracked conversation is 8 bytes: this many are 175 kB in the rollout's row, written when records arrived.
MAX_TRACKED = 16_384
HASH_BITS = 40
FLAG_BITS = 24
_FLAGS = (1 << FLAG_BITS) - 1
# Rows of before there were metrics have longer hashes, of the same function, and fewer flags.
_OLD_ENTRY = struct.Struct(">QB")
_OLD_HASH_BITS = 64


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm at one weight: conversations first seen there, those that turned bad, and all its requests.

    `failed` are the conversations with failures, each where it had its first.
    """

    conversations: int = 0
    bad: int = 0
    requests: int = 0
    failures: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Stratum:
    """Both arms at one weight."""

    weight: float
    candidate: ArmCounts = ArmCounts()
    stable: ArmCounts = ArmCounts()

    @property
    def conversations(self) -> int:
        """Count both arms' conversations."""
        return self.candidate.conversations + self.stable.conversations

    @property
    def bad(self) -> int:
        """Count both arms' bad conversations."""
        return self.candidate.bad + self.stable.bad


@dataclass(frozen=True, slots=True)
class CanaryEvidence:
    """The evidence of one rollout.

    `seen` maps a conversation's 40-bit hash to its flags (see `folding`). Beyond `MAX_TRACKED` conversations only
    those whose hash has `sample_bits` leading zero bits are counted: the memory stays bounded and the sample fair,
    because the hash has nothing to do with arm or outcome. `events` counts requests by event as (candidate, stable).
    `outcomes` is about the candidate alone, at every weight. `metrics` are the sums of the plan's metrics, `windows` is
    the last hour of both arms. `baseline` is what was known of stable before the first record; it never changes.
    `cursor` is the place in the records, `observed` that in the observations.
    """

    process: EventShareState
    sample_ratio: SampleRatioState = field(default_factory=SampleRatioState)
    outcomes: CandidateOutcomes = field(default_factory=CandidateOutcomes)
    cursor: int = 0
    strata: tuple[Stratum, ...] = ()
    events: tuple[tuple[str, int, int], ...] = ()
    crossed: int = 0
    sample_bits: int = 0
    seen: Mapping[int, int] = field(default_factory=dict)
    first_bad_event_at_s: float | None = None
    last_candidate_assignment_at_s: float | None = None
    baseline: Baseline | None = None
    metrics: tuple[MetricSums, ...] = ()
    windows: Windows = field(default_factory=Windows)
    curve: Curve = field(default_factory=Curve)
    observed: int = 0

    @classmethod
    def start(
        cls, *, harm_ratio: float, settle_s: float = 0.0, cursor: int = 0, baseline: Baseline | None = None
    ) -> "CanaryEvidence":
        """Return the evidence before any record; a candidate's conversation is good after `settle_s` at the soonest."""
        return cls(
            process=EventShareState.start(r1=harm_ratio),
            outcomes=CandidateOutcomes(settle_s=settle_s),
            cursor=cursor,
            baseline=baseline,
        )

    def sums(self, name: str) -> MetricSums:
        """Return what was counted for a metric."""
        return next((sums for sums in self.metrics if sums.name == name), MetricSums(name))

    def stratum(self, weight: float) -> Stratum:
        """Return what was seen at a weight."""
        return next((stratum for stratum in self.strata if stratum.weight == weight), Stratum(weight))

    def total(self) -> Stratum:
        """Return the sums over all weights (its own weight means nothing)."""
        return _together(0.0, self.strata)

    def at(self, weight: float, weights: Collection[float]) -> Stratum:
        """Return the sums over several weights that are in force together, on different routes."""
        return _together(weight, [stratum for stratum in self.strata if stratum.weight in weights])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "process": self.process.to_dict(),
            "sample_ratio": self.sample_ratio.to_dict(),
            "outcomes": self.outcomes.to_dict(),
            "cursor": self.cursor,
            "strata": [asdict(stratum) for stratum in self.strata],
            "events": [list(event) for event in self.events],
            "crossed": self.crossed,
            "sample_bits": self.sample_bits,
            "conversations": _packed(self.seen),
            "first_bad_event_at_s": self.first_bad_event_at_s,
            "last_candidate_assignment_at_s": self.last_candidate_assignment_at_s,
            "baseline": self.baseline and self.baseline.to_dict(),
            "metrics": [sums.to_dict() for sums in self.metrics],
            "windows": self.windows.to_list(),
            "curve": self.curve.to_dict(),
            "observed": self.observed,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CanaryEvidence":
        """Return the evidence of a JSON form."""
        baseline = data.get("baseline")
        return cls(
            process=EventShareState.from_dict(data["process"]),
            sample_ratio=SampleRatioState.from_dict(data["sample_ratio"]),
            # Older rows have none: their conversations so far are no absolute proof.
            outcomes=CandidateOutcomes.from_dict(data["outcomes"]) if "outcomes" in data else CandidateOutcomes(),
            cursor=data["cursor"],
            strata=tuple(_stratum(item) for item in data["strata"]),
            events=tuple((name, candidate, stable) for name, candidate, stable in data["events"]),
            crossed=data["crossed"],
            sample_bits=data["sample_bits"],
            seen=_unpacked(data["conversations"]) if "conversations" in data else _unpacked_old(data["seen"]),
            first_bad_event_at_s=data["first_bad_event_at_s"],
            last_candidate_assignment_at_s=data["last_candidate_assignment_at_s"],
            baseline=baseline and Baseline.from_dict(baseline),
            metrics=tuple(MetricSums.from_dict(item) for item in data.get("metrics", ())),
            windows=Windows.from_list(data.get("windows", ())),
            curve=Curve.from_dict(data["curve"]) if "curve" in data else Curve(),
            observed=data.get("observed", 0),
        )


def _packed(seen: Mapping[int, int]) -> str:
    values = [key << FLAG_BITS | flags for key, flags in sorted(seen.items())]
    return base64.b64encode(struct.pack(f">{len(values)}Q", *values)).decode()


def _unpacked(text: str) -> dict[int, int]:
    raw = base64.b64decode(text)
    values = struct.unpack(f">{len(raw) // 8}Q", raw)
    return {value >> FLAG_BITS: value & _FLAGS for value in values}


def _unpacked_old(text: str) -> dict[int, int]:
    entries = _OLD_ENTRY.iter_unpack(base64.b64decode(text))
    return {key >> _OLD_HASH_BITS - HASH_BITS: flags for key, flags in entries}


def _stratum(item: dict[str, Any]) -> Stratum:
    return Stratum(item["weight"], ArmCounts(**item["candidate"]), ArmCounts(**item["stable"]))


def _together(weight: float, strata: Iterable[Stratum]) -> Stratum:
    found = list(strata)
    return Stratum(weight, _sum([item.candidate for item in found]), _sum([item.stable for item in found]))


def _sum(arms: list[ArmCounts]) -> ArmCounts:
    return ArmCounts(
        conversations=sum(arm.conversations for arm in arms),
        bad=sum(arm.bad for arm in arms),
        requests=sum(arm.requests for arm in arms),
        failures=sum(arm.failures for arm in arms),
        failed=sum(arm.failed for arm in arms),
    )

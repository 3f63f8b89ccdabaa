"""What a rollout has seen so far: counts per arm and weight, the running tests, and which conversations were counted.

Cursor, sums and memory are one value, saved with the rollout in one write: after a crash the next controller folds
exactly the records that the last saved evidence had not seen.

A conversation is judged only at the weight it was first seen at, and by one bad event at most. Then its chance of being
the candidate's is that weight exactly; conversations that outlive a step would be a biased sample of either arm.
"""

import base64
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.rollouts.outcomes import CandidateOutcomes
from shipway.stats.sample_ratio import SampleRatioState
from shipway.stats.sequential import EventShareState

# A tracked conversation is 9 bytes: this many are 200 kB in the rollout's row, written when records arrived.
MAX_TRACKED = 16_384
_ENTRY = struct.Struct(">QB")


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm at one weight: conversations first seen there, those that turned bad, and all its requests."""

    conversations: int = 0
    bad: int = 0
    requests: int = 0
    failures: int = 0


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

    `seen` maps a conversation's 8-byte hash to its flags (see `folding`). Beyond `MAX_TRACKED` conversations only
    those whose hash has `sample_bits` leading zero bits are counted: the memory stays bounded and the sample fair,
    because the hash has nothing to do with arm or outcome. `events` counts requests by event as (candidate, stable).
    `outcomes` is about the candidate alone, at every weight.
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

    @classmethod
    def start(cls, *, harm_ratio: float, settle_s: float = 0.0, cursor: int = 0) -> "CanaryEvidence":
        """Return the evidence before any record; a candidate's conversation is good after `settle_s` at the soonest."""
        return cls(
            process=EventShareState.start(r1=harm_ratio), outcomes=CandidateOutcomes(settle_s=settle_s), cursor=cursor
        )

    def stratum(self, weight: float) -> Stratum:
        """Return what was seen at a weight."""
        return next((stratum for stratum in self.strata if stratum.weight == weight), Stratum(weight))

    def total(self) -> Stratum:
        """Return the sums over all weights (its own weight means nothing)."""
        return Stratum(
            0.0,
            _sum([stratum.candidate for stratum in self.strata]),
            _sum([stratum.stable for stratum in self.strata]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        packed = b"".join(_ENTRY.pack(key, flags) for key, flags in sorted(self.seen.items()))
        return {
            "process": self.process.to_dict(),
            "sample_ratio": self.sample_ratio.to_dict(),
            "outcomes": self.outcomes.to_dict(),
            "cursor": self.cursor,
            "strata": [asdict(stratum) for stratum in self.strata],
            "events": [list(event) for event in self.events],
            "crossed": self.crossed,
            "sample_bits": self.sample_bits,
            "seen": base64.b64encode(packed).decode(),
            "first_bad_event_at_s": self.first_bad_event_at_s,
            "last_candidate_assignment_at_s": self.last_candidate_assignment_at_s,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CanaryEvidence":
        """Return the evidence of a JSON form."""
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
            seen=dict(_ENTRY.iter_unpack(base64.b64decode(data["seen"]))),
            first_bad_event_at_s=data["first_bad_event_at_s"],
            last_candidate_assignment_at_s=data["last_candidate_assignment_at_s"],
        )


def _stratum(item: dict[str, Any]) -> Stratum:
    return Stratum(item["weight"], ArmCounts(**item["candidate"]), ArmCounts(**item["stable"]))


def _sum(arms: list[ArmCounts]) -> ArmCounts:
    return ArmCounts(
        conversations=sum(arm.conversations for arm in arms),
        bad=sum(arm.bad for arm in arms),
        requests=sum(arm.requests for arm in arms),
        failures=sum(arm.failures for arm in arms),
    )

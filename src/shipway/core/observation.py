"""Something learnt about a served request after it was answered: what a user, a judge or a comparison said of it.

The control plane and the feedback endpoint write observations; rollouts and `shipway quality` read them. They hold no
text of users.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from shipway.core.record import ServedRequest

THUMBS = "thumbs"
"""A user's word: 1 up, 0 down."""
QUALITY = "quality"
"""A judge's score of a sampled answer, 0 to 1."""
PAIR = "pair"
"""A shadow copy against the answer that the user got, by their records: candidate minus stable, -1 to 1."""
JUDGED_PAIR = "judged_pair"
"""The same by a judge of both answers, where they were kept: candidate minus stable, -1 to 1."""
GOLDEN = "golden"
"""A known case asked of the route: the share of its checks that held, 0 to 1."""
SAFETY = "safety"
"""1 safe, 0 not."""

GOLDEN_CONVERSATION = "golden-"
"""How the conversation of a golden begins; nobody keeps its answer for a judge."""

_RANGES = {
    THUMBS: (0.0, 1.0),
    QUALITY: (0.0, 1.0),
    PAIR: (-1.0, 1.0),
    JUDGED_PAIR: (-1.0, 1.0),
    GOLDEN: (0.0, 1.0),
    SAFETY: (0.0, 1.0),
}
KINDS = tuple(_RANGES)


@dataclass(frozen=True, slots=True)
class Observation:
    """One later fact; its id is made of what it is about, so that writing it twice leaves one.

    Route, arm, weight and rollout are those of the request (`record_id`): they say at which weight the conversation was
    assigned. Pairs have the candidate's release and the conversation of the user. `details` holds figures and short
    names (`judge`, `utility`, `similarity`), never words of a user.
    """

    id: str
    at_s: float
    kind: str
    environment: str
    route: str
    release: str
    value: float
    is_candidate: bool = False
    candidate_weight: float = 0.0
    rollout: str | None = None
    conversation: str = ""
    record_id: str = ""
    details: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in _RANGES:
            raise ValueError(f"observation {self.id!r}: kind {self.kind!r} is none of {', '.join(_RANGES)}")
        low, high = _RANGES[self.kind]
        if not (math.isfinite(self.value) and low <= self.value <= high):
            raise ValueError(f"observation {self.id!r}: {self.kind} {self.value!r} is not in [{low:g}, {high:g}]")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in _FIELDS} | {"details": dict(self.details)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Observation":
        """Return the observation of a JSON form; unknown keys of a newer writer are dropped."""
        return cls(**{key: value for key, value in data.items() if key in _FIELD_SET})


@dataclass(frozen=True, slots=True)
class StoredObservation:
    """An observation and its place in the store's commit order."""

    position: int
    observation: Observation


def about(
    record: ServedRequest, kind: str, value: float, *, at_s: float, mark: str, details: Mapping[str, float | str]
) -> Observation:
    """Return the observation of a kind about a served request; `mark` tells several of a kind about it apart."""
    return Observation(
        id=f"{kind}/{record.id}/{mark}" if mark else f"{kind}/{record.id}",
        at_s=at_s,
        kind=kind,
        environment=record.environment,
        route=record.route,
        release=record.release,
        value=value,
        is_candidate=record.is_candidate,
        candidate_weight=record.candidate_weight,
        rollout=record.rollout,
        conversation=record.conversation,
        record_id=record.id,
        details=details,
    )


_FIELDS = tuple(item.name for item in fields(Observation))
_FIELD_SET = frozenset(_FIELDS)

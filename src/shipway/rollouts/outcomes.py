"""How the candidate's own conversations ended, for the absolute proof of no harm. Pure; `folding` keeps it up to date.

A conversation looks good until it turns bad, perhaps with its second request. Therefore a bad one counts at once, but
one is taken for good only when it was first seen at least `settle_s` before the newest record. At every look the
evidence is then at most that of the conversations which began first, each with the outcome of its first `settle_s`:
looking early cannot help. Conversations that turn bad later still take their evidence back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Beginnings are kept by time in slots of settle_s / 16, so waiting is at most 7 % longer and the row stays small.
_SLOTS = 16


@dataclass(frozen=True, slots=True)
class CandidateOutcomes:
    """The candidate's conversations: how many have `settled`, turned `bad`, or left the candidate without (`left`).

    `pending` holds those not settled yet as (slot of the beginning, conversations). Times are those of the records,
    when the request arrived: with `settle_s` longer than a request may take, no slow request is missing.
    """

    settle_s: float = 0.0
    settled: int = 0
    bad: int = 0
    left: int = 0
    newest_s: float = 0.0
    pending: tuple[tuple[int, int], ...] = ()

    @property
    def good(self) -> int:
        """Count what may be taken for good; every bad one is taken off, settled or not."""
        return max(0, self.settled - self.bad - self.left)

    def seen_until(self, at_s: float) -> "CandidateOutcomes":
        """Return the outcomes after a record of that time, of either arm."""
        if at_s <= self.newest_s:
            return self
        done = [item for item in self.pending if self._is_settled(item[0], at_s)]
        if not done:
            return replace(self, newest_s=at_s)
        settled = self.settled + sum(count for _, count in done)
        return replace(self, newest_s=at_s, settled=settled, pending=self.pending[len(done) :])

    def begun(self, at_s: float) -> "CandidateOutcomes":
        """Return the outcomes after a conversation's first record."""
        slot = int(at_s * _SLOTS // self.settle_s) if self.settle_s else 0
        if self._is_settled(slot, self.newest_s):
            return replace(self, settled=self.settled + 1)
        waiting = dict(self.pending)
        waiting[slot] = waiting.get(slot, 0) + 1
        return replace(self, pending=tuple(sorted(waiting.items())))

    def turned_bad(self) -> "CandidateOutcomes":
        """Return the outcomes after a conversation's first bad event."""
        return replace(self, bad=self.bad + 1)

    def gone(self) -> "CandidateOutcomes":
        """Return the outcomes after a conversation without a bad event was served by stable: it proves nothing."""
        return replace(self, left=self.left + 1)

    def forgotten(self) -> "CandidateOutcomes":
        """Return the outcomes when conversations may turn bad unnoticed: those not settled never count as good."""
        return replace(self, pending=())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "settle_s": self.settle_s,
            "settled": self.settled,
            "bad": self.bad,
            "left": self.left,
            "newest_s": self.newest_s,
            "pending": [list(item) for item in self.pending],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CandidateOutcomes":
        """Return the outcomes of a JSON form."""
        return cls(**{**data, "pending": tuple((slot, count) for slot, count in data["pending"])})

    def _is_settled(self, slot: int, newest_s: float) -> bool:
        return not self.settle_s or (slot + 1) * self.settle_s / _SLOTS + self.settle_s <= newest_s

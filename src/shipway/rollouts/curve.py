"""How the evidence grew: few points for `rollout explain`, kept with it. Pure; the controller adds one at each look."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_POINTS = 120


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (at_s, harm_e, no_harm_e), oldest first; at least `apart_s` lie between two, which grows with them.

    The last point may be nearer: it is replaced until it is far enough from the one before.
    """

    points: tuple[tuple[float, float, float], ...] = ()
    apart_s: float = 0.0

    def with_point(self, at_s: float, harm_e: float, no_harm_e: float) -> "Curve":
        """Return the curve with one more look; what did not change adds nothing, the oldest and newest point stay."""
        point = (at_s, harm_e, no_harm_e)
        points = self.points
        if points and (points[-1][1:] == point[1:] or at_s < points[-1][0]):
            return self
        if len(points) > 1 and points[-1][0] - points[-2][0] < self.apart_s:
            points = points[:-1]
        points = (*points, point)
        if len(points) <= MAX_POINTS:
            return Curve(points, self.apart_s)
        kept = (*points[:-1:2], points[-1])
        return Curve(kept, max(self.apart_s * 2.0, (points[-1][0] - points[0][0]) / MAX_POINTS))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"points": [list(point) for point in self.points], "apart_s": self.apart_s}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Curve":
        """Return the curve of a JSON form."""
        points: Sequence[Sequence[float]] = data["points"]
        return cls(tuple((at_s, harm_e, no_harm_e) for at_s, harm_e, no_harm_e in points), data["apart_s"])

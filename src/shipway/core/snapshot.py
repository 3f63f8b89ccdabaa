"""The data-plane snapshot: the only thing that the control plane tells the data plane.

`rollouts` writes it through its `Traffic` port, `gateway` reads it. One versioned document: a worker applies all of it
or none of it.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from shipway.core.ids import ReleaseId, RolloutId, RouteName

_SCALE = 2**64


@dataclass(frozen=True, slots=True)
class RouteTraffic:
    """How one route's conversations are divided.

    `candidate_weight` is a share in [0, 1]; `endpoints` maps a release id to the base URL of the process that serves it
    (route kind http only).
    """

    route: RouteName
    stable: ReleaseId
    candidate: ReleaseId | None = None
    candidate_weight: float = 0.0
    salt: str = ""
    endpoints: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.candidate_weight <= 1.0:
            raise ValueError(f"route {self.route!r}: candidate_weight {self.candidate_weight!r} is not in [0, 1]")
        if self.candidate is None and self.candidate_weight:
            raise ValueError(f"route {self.route!r}: weight {self.candidate_weight!r} without a candidate")

    def assign(self, conversation: str) -> tuple[ReleaseId, bool]:
        """Return the release of a conversation and whether it is the candidate.

        A conversation's place in [0, 1) depends on salt and conversation alone, so raising the weight never moves one
        from the candidate back to stable.
        """
        if self.candidate is None or position(self.salt, conversation) >= self.candidate_weight:
            return self.stable, False
        return self.candidate, True


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """An API key as the data plane knows it: never the key itself.

    `routes` empty means every route; `expires_at_s` is Unix time.
    """

    key_id: str
    sha256: str
    tenant: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    routes: tuple[str, ...] = ()
    expires_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of everything the data plane obeys.

    `epoch` is the fencing epoch of the leader that wrote it; `dead_man_s` is how long a candidate may be served while
    the control plane is silent.
    """

    environment: str
    version: int = 0
    epoch: int = 0
    routes: tuple[RouteTraffic, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    rollout: RolloutId | None = None
    dead_man_s: float = 60.0
    config_digest: str = ""

    def route(self, name: str) -> RouteTraffic | None:
        """Return a route's traffic, or None when the route is not deployed."""
        return next((route for route in self.routes if route.route == name), None)

    def releases(self) -> frozenset[ReleaseId]:
        """Return every release that may be assigned."""
        found = {route.stable for route in self.routes}
        return frozenset(found | {route.candidate for route in self.routes if route.candidate})

    def without_candidates(self) -> "Snapshot":
        """Return what is served when the control plane is silent: stable alone."""
        return replace(self, routes=tuple(replace(route, candidate_weight=0.0) for route in self.routes))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Snapshot":
        """Return the snapshot of a JSON form."""
        return cls(
            environment=data["environment"],
            version=data["version"],
            epoch=data["epoch"],
            routes=tuple(_route(item) for item in data["routes"]),
            keys=tuple(_key(item) for item in data["keys"]),
            rollout=data["rollout"],
            dead_man_s=data["dead_man_s"],
            config_digest=data["config_digest"],
        )


def position(salt: str, conversation: str) -> float:
    """Return a conversation's place in [0, 1), uniform over conversations and independent between salts."""
    raw = hashlib.blake2b(f"{salt}\x00{conversation}".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big") / _SCALE


def _route(item: dict[str, Any]) -> RouteTraffic:
    return RouteTraffic(**{**item, "endpoints": tuple((a, b) for a, b in item["endpoints"])})


def _key(item: dict[str, Any]) -> KeyEntry:
    return KeyEntry(**{**item, **{name: tuple(item[name]) for name in ("groups", "roles", "routes")}})

"""The data-plane snapshot: the only thing that the control plane tells the data plane.

`rollouts` writes it through its `Traffic` port, `gateway` reads it. One versioned document: a worker applies all of it
or none of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.switches import Switch

_SCALE = 2**64


@dataclass(frozen=True, slots=True)
class Segment:
    """Some callers: those of one of the tenants, in one of the groups, with one of the keys (by key id).

    An empty field means any.
    """

    tenants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """Return the segment in words."""
        parts = (("tenants", self.tenants), ("groups", self.groups), ("keys", self.keys))
        return " and ".join(f"{name} {', '.join(values)}" for name, values in parts if values) or "everybody"

    def holds(self, caller: "KeyEntry") -> bool:
        """Tell whether a caller belongs to it."""
        if self.tenants and caller.tenant not in self.tenants:
            return False
        if self.keys and caller.key_id not in self.keys:
            return False
        return not self.groups or not set(self.groups).isdisjoint(caller.groups)


@dataclass(frozen=True, slots=True)
class RouteTraffic:
    """How one route's conversations are divided.

    `candidate_weight` is a share in [0, 1]; `endpoints` maps a release id to the base URL of the process that serves it
    (route kind http only). `shadow` gets copies of `shadow_share` of the requests that stable answers; no user sees it.
    With `segments` only callers of one of them are divided, all others are stable's. The requests of a route that is
    `parked` wait until it is not any more.
    """

    route: RouteName
    stable: ReleaseId
    candidate: ReleaseId | None = None
    candidate_weight: float = 0.0
    salt: str = ""
    endpoints: tuple[tuple[str, str], ...] = ()
    shadow: ReleaseId | None = None
    shadow_share: float = 0.0
    segments: tuple[Segment, ...] = ()
    parked: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.candidate_weight <= 1.0:
            raise ValueError(f"route {self.route!r}: candidate_weight {self.candidate_weight!r} is not in [0, 1]")
        if self.candidate is None and self.candidate_weight:
            raise ValueError(f"route {self.route!r}: weight {self.candidate_weight!r} without a candidate")
        if not 0.0 <= self.shadow_share <= 1.0:
            raise ValueError(f"route {self.route!r}: shadow_share {self.shadow_share!r} is not in [0, 1]")

    @property
    def is_plain(self) -> bool:
        """Return whether a request is divided by its conversation alone, and asked of one release alone."""
        return not self.parked and not self.segments and self.shadow is None

    def assign(self, conversation: str) -> tuple[ReleaseId, bool]:
        """Return the release of a conversation and whether it is the candidate.

        A conversation's place in [0, 1) depends on salt and conversation alone, so raising the weight never moves one
        from the candidate back to stable.
        """
        if self.candidate is None or position(self.salt, conversation) >= self.candidate_weight:
            return self.stable, False
        return self.candidate, True

    def for_caller(self, caller: "KeyEntry") -> "RouteTraffic":
        """Return what holds for a caller: outside all segments the candidate has no weight."""
        if not self.segments or any(segment.holds(caller) for segment in self.segments):
            return self
        return replace(self, candidate_weight=0.0)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """An API key as the data plane knows it: never the key itself.

    `routes` empty means every route; times are Unix time. After a rotation the old secret opens until
    `previous_until_s`.
    """

    key_id: str
    sha256: str
    tenant: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    routes: tuple[str, ...] = ()
    expires_at_s: float | None = None
    previous_sha256: str = ""
    previous_until_s: float | None = None
    rotated_at_s: float | None = None

    def secrets(self) -> "tuple[KeyEntry, ...]":
        """Return the entry of each secret that may open: the present one, and before it ends the one it replaced."""
        if not self.previous_sha256:
            return (self,)
        until_s = min(
            self.previous_until_s or 0.0, self.expires_at_s if self.expires_at_s is not None else float("inf")
        )
        return self, replace(self, sha256=self.previous_sha256, previous_sha256="", expires_at_s=until_s)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of everything the data plane obeys.

    `epoch` is the fencing epoch of the leader that wrote it; `dead_man_s` is how long a candidate may be served while
    the control plane is silent. `flags` is a flagd document (`{"flags": {...}, "$evaluators": {...}}`) or empty.
    """

    environment: str
    version: int = 0
    epoch: int = 0
    routes: tuple[RouteTraffic, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    rollout: RolloutId | None = None
    dead_man_s: float = 60.0
    config_digest: str = ""
    switches: tuple[Switch, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)

    def route(self, name: str) -> RouteTraffic | None:
        """Return a route's traffic, or None when the route is not deployed."""
        return next((route for route in self.routes if route.route == name), None)

    def releases(self) -> frozenset[ReleaseId]:
        """Return every release that may be assigned or shadowed."""
        return self.assigned() | {route.shadow for route in self.routes if route.shadow}

    def assigned(self) -> frozenset[ReleaseId]:
        """Return every release that may be assigned to a user."""
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
            # A snapshot of an older version has neither.
            switches=tuple(Switch.from_dict(item) for item in data.get("switches", ())),
            flags=data.get("flags", {}),
        )


def position(salt: str, conversation: str) -> float:
    """Return a conversation's place in [0, 1), uniform over conversations and independent between salts."""
    raw = hashlib.blake2b(f"{salt}\x00{conversation}".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big") / _SCALE


def _route(item: dict[str, Any]) -> RouteTraffic:
    # A snapshot of an older version has no segments and nothing parked.
    segments = tuple(_segment(segment) for segment in item.get("segments", ()))
    endpoints = tuple((release, url) for release, url in item["endpoints"])
    return RouteTraffic(**{**item, "endpoints": endpoints, "segments": segments})


def _segment(item: dict[str, Any]) -> Segment:
    return Segment(*(tuple(item[name]) for name in ("tenants", "groups", "keys")))


def _key(item: dict[str, Any]) -> KeyEntry:
    return KeyEntry(**{**item, **{name: tuple(item[name]) for name in ("groups", "roles", "routes")}})

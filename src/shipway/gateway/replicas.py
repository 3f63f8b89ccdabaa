"""Which of the engines that serve one model gets a request. Pure; `gateway.routed` counts what is in flight.

least-busy: of two taken at random, the one with fewer requests in flight (Mitzenmacher, "The Power of Two Choices in
Randomized Load Balancing"). prefix-affinity: the engine that a hash of the prompt's beginning falls on, so that its KV
cache holds the prefix already; no engine gets more than 1.25 times the mean load, the surplus goes to the next one on
the ring (Mirrokni, Thorup & Zadimoghaddam, "Consistent Hashing with Bounded Loads", 1608.01350).
"""

import hashlib
import math
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

_POINTS = 64
_BOUND = 1.25


class Replica:
    """One engine and what is in flight on it."""

    __slots__ = ("in_flight", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.in_flight = 0


class ReplicaSet:
    """The engines of one model alias."""

    def __init__(self, urls: Sequence[str], uniform: Callable[[], float], *, affinity: bool = False) -> None:
        self.replicas = tuple(Replica(url) for url in dict.fromkeys(urls))
        self._uniform = uniform
        self._ring = _Ring(self.replicas) if affinity else None

    def pick(
        self, usable: Callable[[Replica], bool], *, key: bytes = b"", tried: Collection[str] = ()
    ) -> Replica | None:
        """Return who is asked, None when nobody is usable.

        `key` is the beginning of the prompt; one that was `tried` is taken only when no other is left.
        """
        candidates = [replica for replica in self.replicas if usable(replica)]
        fresh = [replica for replica in candidates if replica.url not in tried] or candidates
        if len(fresh) <= 1:
            return fresh[0] if fresh else None
        if self._ring is not None and key:
            return self._ring.pick(key, fresh)
        first = int(self._uniform() * len(fresh)) % len(fresh)
        second = (first + 1 + int(self._uniform() * (len(fresh) - 1)) % (len(fresh) - 1)) % len(fresh)
        one, other = fresh[first], fresh[second]
        return other if other.in_flight < one.in_flight else one


class _Ring:
    """Consistent hashing: each engine stands at many points, so that losing one moves only its own keys."""

    def __init__(self, replicas: Iterable[Replica]) -> None:
        points = [(_place(f"{replica.url}#{n}".encode()), replica) for replica in replicas for n in range(_POINTS)]
        points.sort(key=itemgetter(0))
        self._places = [place for place, _ in points]
        self._owners = [replica for _, replica in points]

    def pick(self, key: bytes, fresh: Sequence[Replica]) -> Replica:
        bound = math.ceil(_BOUND * (sum(replica.in_flight for replica in fresh) + 1) / len(fresh))
        allowed = set(map(id, fresh))
        start = bisect(self._places, _place(key))
        for step in range(len(self._owners)):
            owner = self._owners[(start + step) % len(self._owners)]
            if id(owner) in allowed and owner.in_flight < bound:
                return owner
        return min(fresh, key=lambda replica: replica.in_flight)


def prefix_key(body: Mapping[str, Any], prefix: Sequence[Mapping[str, Any]], chars: int) -> bytes:
    """Return the first `chars` characters of what the engine reads: system prompt and messages, or the prompt."""
    parts: list[str] = []
    left = chars
    messages = body.get("messages")
    items = (*prefix, *messages) if isinstance(messages, list) else (body,)
    for item in items:
        if left <= 0:
            break
        content = item.get("content") or item.get("prompt") or item.get("input") or ""
        text = content if isinstance(content, str) else str(content)[:left]
        parts.append(text[:left])
        left -= len(text)
    return "\x00".join(parts).encode(errors="surrogatepass")


def _place(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")

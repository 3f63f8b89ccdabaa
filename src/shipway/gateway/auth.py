"""Who calls: API keys against the snapshot's list; every request but `/health` and `/ready` passes here."""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.core.snapshot import KeyEntry
from shipway.gateway.replies import RefusedError

KEY_PREFIX = "swk_"
INVOKE = "invoke"
OPERATE = "operate"

_INDEX_CHARS = 8
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated key."""

    key: KeyEntry
    principal: Principal

    def require(self, role: str) -> None:
        """Refuse a key without the role."""
        if role not in self.key.roles:
            raise RefusedError(403, f"this key lacks the role {role!r}; use a key that has it")

    def may_use(self, route: str) -> bool:
        """Return whether the key may use a route; a key without a list may use all."""
        return not self.key.routes or route in self.key.routes

    def require_route(self, route: str) -> None:
        """Refuse a key without permission for a route."""
        if not self.may_use(route):
            raise RefusedError(403, f"this key may not use the route {route!r}", code="route_forbidden", param="model")


class KeyRing:
    """The keys of one snapshot, indexed by the first digits of their hash.

    The index compares a hash, never the secret; the whole hash is then compared in constant time.
    """

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._callers: dict[bytes, Caller] = {}
        self._entries: dict[str, list[KeyEntry]] = defaultdict(list)
        for entry in (secret for key in entries for secret in key.secrets()):
            self._entries[entry.sha256.removeprefix("sha256:")[:_INDEX_CHARS]].append(entry)

    def caller(self, authorization: str | None, *, now_s: float) -> Caller:
        """Return who holds the key of an Authorization header.

        Raises:
            RefusedError: 401, with the same words for an unknown and a malformed key.
        """
        hashed = hashlib.sha256(_token(authorization).encode())
        known = self._callers.get(hashed.digest())
        if known is None:
            known = self._known(hashed.hexdigest())
            # Only valid keys come here, so there are no more of them than entries.
            self._callers[hashed.digest()] = known
        if known.key.expires_at_s is not None and now_s >= known.key.expires_at_s:
            raise RefusedError(401, "the API key has expired; ask for a new one", code="key_expired")
        return known

    def _known(self, digest: str) -> Caller:
        found = None
        for entry in self._entries.get(digest[:_INDEX_CHARS], ()):
            if hmac.compare_digest(entry.sha256.removeprefix("sha256:"), digest):
                found = entry
        if found is None:
            raise RefusedError(401, "the API key is not valid here")
        return caller_of(found)


def caller_of(entry: KeyEntry) -> Caller:
    """Return who the holder of an entry is."""
    return Caller(entry, _principal(entry))


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an Authorization header that is none of our keys, else None."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token and not token.startswith(KEY_PREFIX) else None


def _token(authorization: str | None) -> str:
    if authorization is None:
        raise RefusedError(401, "no API key; send 'Authorization: Bearer swk_...'", code="missing_api_key")
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token.startswith(KEY_PREFIX) or len(token) > _LONGEST_KEY:
        raise RefusedError(401, "the API key is not valid here")
    return token


def _principal(entry: KeyEntry) -> Principal:
    return Principal(
        tenant=TenantId(entry.tenant),
        groups=frozenset(entry.groups),
        subject=entry.key_id,
        roles=frozenset(entry.roles),
    )

"""Who may call the control plane: keys by their hash, and what their roles allow."""

import hashlib
import hmac

from shipway.core.clock import Clock
from shipway.core.errors import ForbiddenError, UnauthorizedError
from shipway.core.ids import TenantId
from shipway.core.ports import KeyStore
from shipway.core.principal import Principal

_SCHEME = "Bearer "
# What a role includes beside itself.
_INCLUDES = {"admin": frozenset({"admin", "operate", "invoke"}), "operate": frozenset({"operate"})}


async def authenticate(keys: KeyStore, authorization: str | None, clock: Clock) -> Principal:
    """Return who a bearer key belongs to.

    Raises:
        UnauthorizedError: no key, an unknown, revoked or expired one.
    """
    if not authorization or not authorization.startswith(_SCHEME):
        raise UnauthorizedError("a key is needed: Authorization: Bearer swk_…", hint="`shipway key create` makes one")
    digest = hashlib.sha256(authorization.removeprefix(_SCHEME).encode()).hexdigest()
    now_s = clock.now_s()
    for entry in (secret for key in await keys.list() for secret in key.secrets()):
        if hmac.compare_digest(entry.sha256, digest) and (entry.expires_at_s is None or now_s < entry.expires_at_s):
            roles = frozenset().union(*(_INCLUDES.get(role, frozenset({role})) for role in entry.roles))
            return Principal(TenantId(entry.tenant), frozenset(entry.groups), entry.key_id, roles)
    raise UnauthorizedError(
        "this key is unknown, revoked or expired", hint="`shipway key list` shows the keys in force"
    )


def require_role(principal: Principal, role: str) -> None:
    """Let a principal pass who has a role.

    Raises:
        ForbiddenError: the key's roles do not include it.
    """
    if role not in principal.roles:
        have = ", ".join(sorted(principal.roles)) or "none"
        raise ForbiddenError(f"this needs the role {role!r}; the key has {have}")

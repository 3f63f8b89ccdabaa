"""API keys: made, listed, revoked; the data plane learns of them by the snapshot."""

import hashlib
import secrets
from dataclasses import dataclass, replace

from shipway.core.errors import ConflictError, FencedError, NotFoundError, UsageError
from shipway.core.snapshot import KeyEntry, Snapshot
from shipway.services.application import Application

ROLES = ("invoke", "operate", "admin")
_PREFIX = "swk_"
_PUBLISH_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `secret` is shown once and never stored."""

    entry: KeyEntry
    secret: str


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a key may do."""

    tenant: str
    groups: tuple[str, ...] = ("public",)
    roles: tuple[str, ...] = ("invoke",)
    routes: tuple[str, ...] = ()
    expires_in_s: float | None = None


async def create_key(app: Application, request: KeyRequest) -> NewKey:
    """Make a key and publish it to the data plane.

    Raises:
        UsageError: an unknown role or route, or no tenant.
    """
    unknown = sorted(set(request.roles) - set(ROLES))
    if unknown:
        raise UsageError(f"role {unknown[0]!r} is unknown; roles are {', '.join(ROLES)}")
    if not request.tenant:
        raise UsageError("a key needs a tenant")
    missing = sorted(set(request.routes) - set(app.project.routes))
    if missing:
        raise UsageError(f"route {missing[0]!r} is not in routes (it has {', '.join(sorted(app.project.routes))})")
    secret = _PREFIX + secrets.token_urlsafe(32)
    entry = KeyEntry(
        key_id="key_" + secrets.token_hex(6),
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        tenant=request.tenant,
        groups=request.groups,
        roles=request.roles,
        routes=request.routes,
        expires_at_s=None if request.expires_in_s is None else app.clock.now_s() + request.expires_in_s,
    )
    await app.state.keys.add(entry, created_at_s=app.clock.now_s())
    details = {"tenant": entry.tenant, "groups": list(entry.groups), "roles": list(entry.roles)}
    await app.audit("key.created", entry.key_id, **details)
    await publish_keys(app)
    return NewKey(entry, secret)


async def revoke_key(app: Application, key_id: str) -> None:
    """Revoke a key everywhere.

    Raises:
        NotFoundError: no such key in force.
    """
    if await app.state.keys.revoke(key_id):
        await app.audit("key.revoked", key_id)
    elif not await _is_published(app, key_id):
        raise NotFoundError(f"no key {key_id!r} in force", hint="`shipway key list` shows them")
    await publish_keys(app)


async def _is_published(app: Application, key_id: str) -> bool:
    # A revocation that ended before it was published must be finished by repeating it, not refused.
    snapshot = await app.state.snapshots.read(app.environment)
    return any(key.key_id == key_id for key in snapshot.keys)


async def publish_keys(app: Application) -> Snapshot:
    """Write the keys in force into the environment's snapshot."""
    for _ in range(_PUBLISH_ATTEMPTS):
        # Snapshot first, keys second: with a key added in between, the write conflicts instead of losing it.
        snapshot = await app.state.snapshots.read(app.environment)
        keys = tuple(await app.state.keys.list())
        try:
            return await app.state.snapshots.write(replace(snapshot, keys=keys), expected_version=snapshot.version)
        except (ConflictError, FencedError):
            # Fenced says the same here: a new leader has written since the snapshot was read.
            continue
    raise ConflictError("the snapshot kept changing; try again")

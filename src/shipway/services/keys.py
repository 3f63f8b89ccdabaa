"""API keys: made, listed, rotated, revoked; the data plane learns of them by the snapshot."""

import hashlib
import secrets
from dataclasses import dataclass, replace

from shipway.core.errors import ConflictError, FencedError, NotFoundError, UsageError
from shipway.core.snapshot import KeyEntry, Snapshot
from shipway.services.application import Application, Installation

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
        UsageError: an unknown role or route, no tenant, or a group without a name.
    """
    unknown = sorted(set(request.roles) - set(ROLES))
    if unknown:
        raise UsageError(f"role {unknown[0]!r} is unknown", hint=f"roles are {', '.join(ROLES)}")
    if not request.tenant:
        raise UsageError("a key needs a tenant", hint="name one that `corpus.sources` or your budgets know")
    tenants = app.project.tenants
    if tenants and request.tenant not in tenants:
        raise UsageError(f"tenant {request.tenant!r} is not in tenants (it has {', '.join(sorted(tenants))})")
    if not all(group.strip() for group in request.groups):
        raise UsageError("a group without a name", hint="name the group of documents that the key may read")
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


async def rotate_key(app: Installation, key_id: str, *, overlap_s: float) -> NewKey:
    """Give a key a new secret and publish it; the old one opens for `overlap_s` longer.

    Raises:
        NotFoundError: no such key in force.
        ConflictError: the last rotation's overlap has not ended, so a third secret would end the first early; without
            overlap that is what is wanted, and it is done.
    """
    entry = next((key for key in await app.state.keys.list() if key.key_id == key_id), None)
    if entry is None:
        raise NotFoundError(f"no key {key_id!r} in force", hint="`shipway key list` shows them")
    now_s = app.clock.now_s()
    if overlap_s > 0 and entry.previous_until_s is not None and now_s < entry.previous_until_s:
        raise ConflictError(
            f"key {key_id!r} was rotated a moment ago: its old secret opens for {entry.previous_until_s - now_s:.0f} s",
            hint="wait for that, or end it now with `--overlap 0`",
        )
    secret = _PREFIX + secrets.token_urlsafe(32)
    rotated = replace(
        entry,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        previous_sha256=entry.sha256 if overlap_s > 0 else "",
        previous_until_s=now_s + overlap_s if overlap_s > 0 else None,
        rotated_at_s=now_s,
    )
    if not await app.state.keys.rotate(rotated, replaced_sha256=entry.sha256):
        raise ConflictError(f"key {key_id!r} was rotated or revoked meanwhile; look with `shipway key list`")
    await app.audit("key.rotated", key_id, overlap_s=overlap_s)
    await publish_keys(app)
    return NewKey(rotated, secret)


async def revoke_key(app: Installation, key_id: str) -> None:
    """Revoke a key everywhere.

    Raises:
        NotFoundError: no such key in force.
    """
    if await app.state.keys.revoke(key_id):
        await app.audit("key.revoked", key_id)
    elif not await _is_published(app, key_id):
        raise NotFoundError(f"no key {key_id!r} in force", hint="`shipway key list` shows them")
    await publish_keys(app)


async def _is_published(app: Installation, key_id: str) -> bool:
    # A revocation that ended before it was published must be finished by repeating it, not refused.
    snapshot = await app.state.snapshots.read(app.environment)
    return any(key.key_id == key_id for key in snapshot.keys)


async def publish_keys(app: Installation) -> Snapshot:
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

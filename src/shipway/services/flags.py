"""Feature flags: set, shown, listed, deleted; the data plane learns of them by the snapshot within a second.

A definition is checked exactly as the data plane will read it, before anything is written.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shipway.core.errors import NotFoundError
from shipway.core.snapshot import Snapshot
from shipway.gateway.flags import compile_flag, compile_flags
from shipway.services.application import Installation
from shipway.services.snapshot_changes import changed_snapshot

EVALUATORS = "$evaluators"


async def list_flags(app: Installation) -> dict[str, Any]:
    """Return every flag's definition by key."""
    snapshot = await app.state.snapshots.read(app.environment)
    return dict(snapshot.flags.get("flags", {}))


async def show_flag(app: Installation, key: str) -> dict[str, Any]:
    """Return a flag's definition.

    Raises:
        NotFoundError: no such flag.
    """
    flags = await list_flags(app)
    if key not in flags:
        known = ", ".join(sorted(flags)) or "there are none"
        raise NotFoundError(f"no flag {key!r} ({known})", hint="`shipway flag set KEY FILE` makes one")
    return dict(flags[key])


async def set_flag(app: Installation, key: str, definition: Mapping[str, Any], *, actor: str | None = None) -> Snapshot:
    """Write one flag, new or in place of the old.

    Raises:
        UsageError: the definition is not one of flagd's format; the flags in force stay.
    """

    def change(snapshot: Snapshot) -> Snapshot:
        document = {**snapshot.flags, "flags": {**snapshot.flags.get("flags", {}), key: dict(definition)}}
        compile_flag(key, definition, snapshot.flags.get(EVALUATORS, {}))
        compile_flags(document)
        return replace(snapshot, flags=document)

    change(await app.state.snapshots.read(app.environment))
    await app.audit("flag.set", key, definition=dict(definition), **_by(actor))
    return await changed_snapshot(app, change)


async def set_document(app: Installation, document: Mapping[str, Any], *, actor: str | None = None) -> Snapshot:
    """Write a whole flagd document in place of all flags.

    Raises:
        UsageError: it is not one; the flags in force stay.
    """
    compile_flags(document)
    kept = {name: document[name] for name in ("flags", EVALUATORS, "metadata") if name in document}
    await app.audit("flag.replaced", "all", flags=sorted(kept.get("flags", {})), **_by(actor))
    return await changed_snapshot(app, lambda snapshot: replace(snapshot, flags=kept))


async def delete_flag(app: Installation, key: str, *, actor: str | None = None) -> Snapshot:
    """Delete a flag.

    Raises:
        NotFoundError: no such flag.
    """
    await show_flag(app, key)

    def change(snapshot: Snapshot) -> Snapshot:
        left = {name: flag for name, flag in snapshot.flags.get("flags", {}).items() if name != key}
        return replace(snapshot, flags={**snapshot.flags, "flags": left})

    await app.audit("flag.deleted", key, **_by(actor))
    return await changed_snapshot(app, change)


def _by(actor: str | None) -> dict[str, str]:
    return {} if actor is None else {"for": actor}

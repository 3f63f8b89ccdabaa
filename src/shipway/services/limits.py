"""What callers have used of their limits: shown, and set to nothing when somebody decides so.

The command line calls this. It counts beside the gateway's workers, in the host's memory or in Redis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.core.snapshot import KeyEntry
from shipway.gateway.quota import NANO, Bucket, Measure, Standing
from shipway.gateway.quota_book import QuotaRules
from shipway.services.application import Application

_NAMES: Mapping[Measure, str] = {
    Measure.REQUESTS: "requests",
    Measure.TOKENS: "tokens",
    Measure.PLACES: "concurrent",
    Measure.DAILY_USD: "daily_usd",
    Measure.MONTHLY_USD: "monthly_usd",
}
RESETTABLE = tuple(name for measure, name in _NAMES.items() if measure is not Measure.PLACES)
"""Places are given back by those who hold them; there is nothing else to reset."""


class Counters(Protocol):
    """Where callers are counted."""

    def prepared(self, buckets: Sequence[Bucket]) -> Any:
        """Return what `standings` takes."""
        ...

    async def standings(self, quota: Any) -> tuple[Standing, ...]:
        """Return how far each bucket is used; nothing when the counters cannot be reached."""
        ...

    async def reset(self, buckets: Sequence[Bucket]) -> None:
        """Set what is used of buckets of one tenant to nothing."""
        ...


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit of a key or a tenant; `key_id` is empty for a tenant's own.

    `most`, `used` and `left` are requests, tokens, places or US dollars; what is reserved for requests that run counts
    as used. `per_min` is how fast a rate drains, `resets_in_s` when nothing of it is used any more.
    """

    tenant: str
    key_id: str
    limit: str
    most: float
    used: float
    left: float
    per_min: float
    resets_in_s: float


@dataclass(frozen=True, slots=True)
class LimitSubject:
    """Whose limits: a key's, a tenant's, or everybody's."""

    key_id: str | None = None
    tenant: str | None = None


async def show_limits(app: Application, counters: Counters, subject: LimitSubject) -> list[LimitRow]:
    """Return the limits of a key and its tenant, of a tenant and its keys, or of all.

    Raises:
        NotFoundError: no such key in force, or a tenant that nobody knows.
        UnavailableError: the counters cannot be reached.
    """
    keys = await app.state.keys.list()
    if subject.key_id is not None:
        return await _rows(counters, _of_key(app, _key(keys, subject.key_id)))
    tenants = [subject.tenant] if subject.tenant is not None else sorted(_tenants(app, keys))
    rows: list[LimitRow] = []
    for tenant in tenants:
        rows += await _rows(counters, _of_tenant(app, _known(app, keys, tenant)))
        for key in keys:
            if key.tenant == tenant:
                rows += await _rows(counters, _own(_of_key(app, key)))
    return rows


async def reset_limits(
    app: Application, counters: Counters, subject: LimitSubject, only: Sequence[str] = ()
) -> list[LimitRow]:
    """Set what a key, or a tenant beside its keys, has used to nothing; returns what that was.

    Raises:
        UsageError: neither a key nor a tenant, or both; a limit that cannot be reset.
        NotFoundError: no such key in force, a tenant that nobody knows, or a limit that it does not have.
        UnavailableError: the counters cannot be reached.
    """
    if (subject.key_id is None) == (subject.tenant is None):
        raise UsageError("name one key with --key, or one tenant with --tenant")
    wrong = next((name for name in only if name not in RESETTABLE), None)
    if wrong is not None:
        raise UsageError(f"{wrong[:60]!r} is not a limit that can be reset; they are {', '.join(RESETTABLE)}")
    keys = await app.state.keys.list()
    if subject.key_id is not None:
        name, own = f"key:{subject.key_id}", _own(_of_key(app, _key(keys, subject.key_id)))
    else:
        tenant = _known(app, keys, str(subject.tenant))
        name, own = f"tenant:{tenant}", _of_tenant(app, tenant)
    chosen = [held for held in own if _NAMES[held.bucket.measure] in (only or RESETTABLE)]
    if not chosen:
        had = ", ".join(_NAMES[held.bucket.measure] for held in own) or "none"
        raise NotFoundError(f"{name} has no such limit (it has {had})", hint="`shipway limits show` shows them")
    before = await _rows(counters, chosen)
    # The intent is in the audit log before anything changes, with what is lost by it.
    await app.audit("limits.reset", name, used={row.limit: row.used for row in before})
    await counters.reset([held.bucket for held in chosen])
    return before


@dataclass(frozen=True, slots=True)
class _Held:
    """A bucket and whose it is."""

    bucket: Bucket
    tenant: str
    key_id: str = ""


def _of_key(app: Application, key: KeyEntry) -> list[_Held]:
    buckets = _rules(app).buckets(key)
    return [_Held(bucket, key.tenant, key.key_id if bucket.whose == "key" else "") for bucket in buckets]


def _of_tenant(app: Application, tenant: str) -> list[_Held]:
    nobody = KeyEntry("", "", tenant, (), ())
    return [held for held in _of_key(app, nobody) if held.bucket.whose == "tenant"]


def _own(held: Sequence[_Held]) -> list[_Held]:
    return [one for one in held if one.bucket.whose == "key"]


def _rules(app: Application) -> QuotaRules:
    project = app.project
    return QuotaRules(project.rates, project.budgets, project.tenants, project.key_limits)


def _key(keys: Sequence[KeyEntry], key_id: str) -> KeyEntry:
    found = next((key for key in keys if key.key_id == key_id), None)
    if found is None:
        raise NotFoundError(f"no key {key_id!r} in force", hint="`shipway key list` shows them")
    return found


def _tenants(app: Application, keys: Sequence[KeyEntry]) -> set[str]:
    issued = {issuer.tenant for issuer in app.project.auth.issuers if issuer.tenant is not None}
    return {*app.project.tenants, *(key.tenant for key in keys), *issued}


def _known(app: Application, keys: Sequence[KeyEntry], tenant: str) -> str:
    known = _tenants(app, keys)
    if tenant not in known:
        raise NotFoundError(f"nobody belongs to the tenant {tenant!r} (there are {', '.join(sorted(known)) or 'none'})")
    return tenant


async def _rows(counters: Counters, held: Sequence[_Held]) -> list[LimitRow]:
    if not held:
        return []
    found = await counters.standings(counters.prepared([one.bucket for one in held]))
    if not found:
        raise UnavailableError("the limits cannot be reached", hint="is the Redis of the section redis there?")
    standings = {standing.bucket.name: standing for standing in found}
    return [_row(one, standings[one.bucket.name]) for one in held]


def _row(held: _Held, standing: Standing) -> LimitRow:
    bucket = held.bucket
    unit = NANO if bucket.measure in (Measure.DAILY_USD, Measure.MONTHLY_USD) else 1
    left = min(standing.remaining, bucket.capacity)
    return LimitRow(
        tenant=held.tenant,
        key_id=held.key_id,
        limit=_NAMES[bucket.measure],
        most=bucket.capacity / unit,
        used=(bucket.capacity - left) / unit,
        left=left / unit,
        per_min=bucket.per_min,
        resets_in_s=round(standing.reset_s, 3),
    )

"""Which buckets a caller's requests come out of, by the project file, and how a refusal reads.

`admission` asks for each request; a caller's quota is put together once and kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

from shipway.config.sections.routes import Budgets, Rates
from shipway.config.sections.tenants import KeyLimits, Tenant
from shipway.core.snapshot import KeyEntry
from shipway.gateway.quota import Bucket, Excess, Limits, LimitsLostError, Measure, Standing, nano_usd
from shipway.gateway.replies import RefusedError, retry_after

_MOST_QUOTAS = 20_000
"""Beyond this all are put together anew: callers with tokens of their own can be any number."""
_STRANGERS = "-"
_REFUSED = "/refused"
_MOST_STOPPED = 4096
_OVER = {
    Measure.REQUESTS: ("is over its requests per minute; wait and try again", "rate_limited"),
    Measure.TOKENS: ("is over its tokens per minute; wait and try again", "tokens_rate_limited"),
    Measure.PLACES: ("has as many requests at work as it may; wait for one to end", "concurrency_limited"),
    Measure.DAILY_USD: ("has spent its budget of this day (UTC)", "budget_exceeded"),
    Measure.MONTHLY_USD: ("has spent its budget of this month (UTC)", "budget_exceeded"),
}
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """The sections of the project file that limit callers."""

    rates: Rates = field(default_factory=Rates)
    budgets: Budgets = field(default_factory=Budgets)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    key_limits: Mapping[str, KeyLimits] = field(default_factory=dict)

    def buckets(self, key: KeyEntry) -> list[Bucket]:
        """Return a key's buckets, then its tenant's."""
        tenant = self.tenants.get(key.tenant)
        own = self.key_limits.get(key.key_id)
        if own is not None and own.tenant != key.tenant:
            own = None
        prefix = quote(key.tenant, safe="")
        return [
            *self._scope("key", f"{prefix}/key/{quote(key.key_id, safe='')}", _KEY_FIELDS, (own, tenant)),
            *self._scope("tenant", f"{prefix}/tenant", _TENANT_FIELDS, (tenant,)),
        ]

    def refusals(self, key: KeyEntry, host: str) -> list[Bucket]:
        """Return the buckets of requests that have to be refused: a key's, and those of an address with valid keys."""
        own = [bucket for bucket in self.buckets(key) if (bucket.whose, bucket.measure) == ("key", Measure.REQUESTS)]
        per_ip = self.rates.per_ip_min
        address = Bucket(f"{_STRANGERS}/address/{host}{_REFUSED}", "address", Measure.REQUESTS, per_ip, per_ip)
        return [*(replace(bucket, name=bucket.name + _REFUSED) for bucket in own), address]

    def stranger(self, host: str) -> Bucket:
        """Return the bucket of an address that brings no valid key."""
        per_min = self.rates.per_ip_min
        return Bucket(f"{_STRANGERS}/address/{host}/requests", "address", Measure.REQUESTS, per_min, per_min)

    def _scope(
        self, whose: str, prefix: str, fields: Mapping[Measure, str], overrides: Iterable[Tenant | KeyLimits | None]
    ) -> Iterator[Bucket]:
        sections = (*overrides, self.rates, self.budgets)
        for measure, name in fields.items():
            found = (getattr(section, name, None) for section in sections)
            limit = next((value for value in found if value is not None), None)
            if limit is None:
                continue
            place = f"{prefix}/{measure.name.lower()}"
            match measure:
                case Measure.REQUESTS:
                    yield Bucket(place, whose, measure, max(1, limit // 2), limit)
                case Measure.TOKENS:
                    yield Bucket(place, whose, measure, limit, limit)
                case Measure.PLACES:
                    yield Bucket(place, whose, measure, limit)
                case Measure.DAILY_USD | Measure.MONTHLY_USD:
                    yield Bucket(place, whose, measure, nano_usd(limit))


_KEY_FIELDS = {
    Measure.REQUESTS: "per_key_min",
    Measure.TOKENS: "tokens_per_min",
    Measure.PLACES: "concurrent_per_key",
    Measure.DAILY_USD: "key_daily_usd",
    Measure.MONTHLY_USD: "key_monthly_usd",
}
_TENANT_FIELDS = {
    Measure.REQUESTS: "per_tenant_min",
    Measure.TOKENS: "tenant_tokens_per_min",
    Measure.PLACES: "concurrent_per_tenant",
    Measure.DAILY_USD: "daily_usd",
    Measure.MONTHLY_USD: "monthly_usd",
}


class CallerQuota:
    """A caller's quota as the counters take it; `is_metered` when tokens, money or places are among it."""

    __slots__ = ("is_metered", "prepared", "tenant")

    def __init__(self, prepared: Any, tenant: str, *, is_metered: bool) -> None:
        self.prepared = prepared
        self.tenant = tenant
        self.is_metered = is_metered


@runtime_checkable
class HostLimits(Protocol):
    """Counters that need not be waited for."""

    def prepared(self, buckets: Sequence[Bucket]) -> Any:
        """Return what `reserve_now` takes."""
        ...

    def reserve_now(self, quota: Any, tokens: int, nano_usd: int) -> Any:
        """Take from all buckets or from none; an Excess says which one refuses."""
        ...


class QuotaBook:
    """The quotas of one worker's callers.

    `strangers` counts addresses without a valid key and requests that have to be refused, in a table of their own:
    they can be any number, and none of them may crowd out a key.
    """

    def __init__(self, limits: Limits, strangers: HostLimits, rules: QuotaRules) -> None:
        self.limits = limits
        self.rules = rules
        self._strangers = strangers
        self._quotas: dict[str, CallerQuota] = {}
        self._stopped: set[str] = set()
        self.headers_on_all = rules.rates.headers == "all"

    def of(self, key: KeyEntry) -> CallerQuota:
        """Return a key's quota.

        Raises:
            LimitsLostError: there is no room to count it.
        """
        found = self._quotas.get(key.key_id)
        if found is None or found.tenant != key.tenant:
            if len(self._quotas) >= _MOST_QUOTAS:
                self._quotas.clear()
            buckets = self.rules.buckets(key)
            metered = any(bucket.measure is not Measure.REQUESTS for bucket in buckets)
            found = CallerQuota(self.limits.prepared(buckets), key.tenant, is_metered=metered)
            self._quotas[key.key_id] = found
        return found

    def stranger(self, host: str) -> Excess | None:
        """Count a request without a valid key against its address."""
        return self._counted([self.rules.stranger(_network(host))])

    def refused(self, key: KeyEntry, host: str) -> Excess | None:
        """Count a request that has to be refused, which has consumed nothing else, against its key and address."""
        excess = self._counted(self.rules.refusals(key, _network(host)))
        if excess is not None and excess.bucket.whose == "key":
            if len(self._stopped) >= _MOST_STOPPED:
                self._stopped.clear()
            self._stopped.add(key.key_id)
        return excess

    def is_stopped(self, key_id: str) -> bool:
        """Return whether too many requests of a key had to be refused, as far as is known without counting."""
        return key_id in self._stopped

    def stopped(self, key: KeyEntry) -> Excess | None:
        """Return why a key's request need not be read: too many of its requests had to be refused just now."""
        if key.key_id not in self._stopped:
            return None
        excess = self._counted(self.rules.refusals(key, "")[:-1])
        if excess is None:
            self._stopped.discard(key.key_id)
        return excess

    def _counted(self, buckets: Sequence[Bucket]) -> Excess | None:
        try:
            found = self._strangers.reserve_now(self._strangers.prepared(buckets), 0, 0)
        except LimitsLostError:
            # So many addresses at once are an attack; whoever has no key waits.
            return Excess(buckets[0], 1.0)
        return found if isinstance(found, Excess) else None

    async def headers(self, quota: CallerQuota) -> list[tuple[str, str]]:
        """Return what is left in OpenAI's header names."""
        return limit_headers(await self.limits.standings(quota.prepared))


def _network(host: str) -> str:
    """Return an IPv6 address's /64, which is what one customer gets; any other text as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False).network_address)
    return host


def refusal(excess: Excess) -> RefusedError:
    """Return what a caller over a limit is told."""
    words, code = _OVER[excess.bucket.measure]
    message = f"this {excess.bucket.whose} {words}"
    if excess.bucket.name.endswith(_REFUSED):
        whose = excess.bucket.whose
        message = f"too many requests of this {whose} have to be refused; wait, and correct what they are told"
    elif excess.bucket.whose == "address":
        message = "this address is over its requests without a valid key; wait and try again"
    return RefusedError(429, message, code=code, retry_after=retry_after(excess.wait_s))


def limit_headers(standings: Iterable[Standing]) -> list[tuple[str, str]]:
    """Return the headers of the tightest request and token limits, in OpenAI's names and spelling."""
    found: list[tuple[str, str]] = []
    rates = [standing for standing in standings if standing.bucket.per_min]
    for measure in (Measure.REQUESTS, Measure.TOKENS):
        of_it = [standing for standing in rates if standing.bucket.measure is measure]
        if of_it:
            tightest = min(of_it, key=_share_left)
            found += [
                (f"x-ratelimit-limit-{measure}", str(int(tightest.bucket.per_min))),
                (f"x-ratelimit-remaining-{measure}", str(tightest.remaining)),
                (f"x-ratelimit-reset-{measure}", duration(tightest.reset_s)),
            ]
    return found


def duration(seconds: float) -> str:
    """Return a time as OpenAI's headers spell it: `17ms`, `1.5s`, `6m0s`."""
    if seconds < 1.0:
        return f"{int(seconds * 1000)}ms"
    if seconds < _MINUTE_S:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes}m{rest}s"


def _share_left(standing: Standing) -> float:
    return standing.remaining / standing.bucket.capacity

"""Whether limits, tenants and issuers name what exists; `project` asks."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from shipway.config.routing_checks import listed
from shipway.config.sections.auth import Auth
from shipway.config.sections.corpus import Corpus
from shipway.config.sections.models import ModelEntry
from shipway.config.sections.routes import Budgets
from shipway.config.sections.routing import RoutingRule
from shipway.config.sections.section import Section
from shipway.config.sections.tenants import KeyLimits, Tenant

Problem = tuple[tuple[str | int, ...], str]

_MONEY = ("daily_usd", "monthly_usd", "key_daily_usd", "key_monthly_usd")
_BILLED = (("input", "what is read"), ("output", "what is generated"))


def tenant_problems(
    tenants: Collection[str], key_limits: Mapping[str, KeyLimits], auth: Auth, corpus: Corpus | None
) -> Iterator[Problem]:
    """Yield where a tenant is named that `tenants` does not have.

    Without `tenants` any name is right, but in `key_limits`.
    """
    for key_id, limits in key_limits.items():
        if limits.tenant not in tenants:
            yield ("key_limits", key_id, "tenant"), _unknown(limits.tenant, tenants)
    if not tenants:
        return
    for index, issuer in enumerate(auth.issuers):
        if issuer.tenant is not None and issuer.tenant not in tenants:
            yield ("auth", "issuers", index, "tenant"), _unknown(issuer.tenant, tenants)
    for index, source in enumerate(corpus.sources if corpus else ()):
        if source.tenant not in tenants:
            yield ("corpus", "sources", index, "tenant"), _unknown(source.tenant, tenants)


def rule_tenant_problems(tenants: Collection[str], rules: Iterable[RoutingRule]) -> Iterator[Problem]:
    """Yield where a routing rule is for a tenant that `tenants` does not have; without `tenants` any name is right."""
    for index, rule in enumerate(rules if tenants else ()):
        for name in listed(rule.tenant) or ():
            if name not in tenants:
                yield ("routing", "rules", index, "tenant"), _unknown(name, tenants)


def price_problems(
    models: Mapping[str, ModelEntry],
    budgets: Budgets,
    tenants: Mapping[str, Tenant],
    key_limits: Mapping[str, KeyLimits],
) -> Iterator[Problem]:
    """Yield models whose price is missing, though somebody else bills for them, or is half a price.

    Without budgets in dollars no price is needed.
    """
    limited: Iterable[Section] = (budgets, *tenants.values(), *key_limits.values())
    if not any(getattr(section, name, None) is not None for section in limited for name in _MONEY):
        return
    for alias, entry in models.items():
        if "price" not in entry.model_fields_set:
            if entry.engine in {"openai", "azure"}:
                yield ("models", alias, "price"), "missing: without it the budgets in dollars would count nothing"
            continue
        for name, what in _BILLED:
            if name not in entry.price.model_fields_set:
                yield (
                    ("models", alias, "price"),
                    f"{name} is missing: budgets in dollars would not count {what}; write `{name}: 0` if it is free",
                )


def _unknown(name: str, tenants: Collection[str]) -> str:
    known = f"it has {', '.join(sorted(tenants))}" if tenants else "it is empty"
    return f"{name!r} is not in tenants ({known})"

"""What a project says about keys and tenants that nobody has: no mistake, since they may come, but often a misspelling.

`shipway config check`, `up` and `reload` show what this finds.
"""

from collections.abc import Collection, Iterator

from shipway.config.loading import LoadedProject
from shipway.config.routing_checks import listed
from shipway.config.sections.auth import Auth
from shipway.core.ports import KeyStore

_LONGEST_LIST = 5


async def key_warnings(loaded: LoadedProject, keys: KeyStore, *, now_s: float) -> list[str]:
    """Return a line for each limit and each rule that holds for nobody: file, line, key, what, what to do."""
    in_force = [key for key in await keys.list() if key.expires_at_s is None or key.expires_at_s > now_s]
    found = [*_limits_of_nobody(loaded, {key.key_id for key in in_force})]
    if in_force and not _any_tenant(loaded.project.auth):
        issued = {issuer.tenant for issuer in loaded.project.auth.issuers if issuer.tenant is not None}
        found += _rules_of_nobody(loaded, {key.tenant for key in in_force} | issued)
    return found


def _limits_of_nobody(loaded: LoadedProject, key_ids: Collection[str]) -> Iterator[str]:
    for key_id in loaded.project.key_limits:
        if key_id not in key_ids:
            place = loaded.nearest_place(("key_limits", key_id))
            yield (
                f"{place}: key_limits.{key_id}: no key in force has this id, so these limits hold for nobody;"
                " `shipway key list` shows the ids"
            )


def _rules_of_nobody(loaded: LoadedProject, tenants: Collection[str]) -> Iterator[str]:
    shown = ", ".join(sorted(tenants)[:_LONGEST_LIST]) + (", …" if len(tenants) > _LONGEST_LIST else "")
    for index, rule in enumerate(loaded.project.routing.rules):
        for tenant in listed(rule.tenant) or ():
            if tenant not in tenants:
                place = loaded.nearest_place(("routing", "rules", index, "tenant"))
                yield (
                    f"{place}: routing.rules[{index}].tenant: no key in force belongs to {tenant!r}, so the rule never"
                    f" matches for it (there are keys of {shown})"
                )


def _any_tenant(auth: Auth) -> bool:
    """Return whether an issuer's tokens name tenants that nobody here knows."""
    return any(issuer.tenant_claim is not None for issuer in auth.issuers)

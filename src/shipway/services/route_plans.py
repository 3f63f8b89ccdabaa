"""Plans for the routes of a release: which models each may use, by the release's rules. `services.runtimes` asks."""

from collections.abc import Mapping
from typing import Any

from shipway.gateway.route_plan import Escalated, PromptChoice, RoutePlan
from shipway.gateway.routing import RoutingTable, compile_chains, compile_route


def needed_aliases(routing: Mapping[str, Any], route: str, own: str, models: Mapping[str, Any]) -> set[str]:
    """Return the models without which a route cannot be served as its release says.

    Any other model of the release is there for locks and flags alone and may be missing.
    """
    found = compile_route(routing, route, own, models)
    if isinstance(found, str):
        reached = {found}
    else:
        named = {rule.to or own for rule in found.rules} | {found.default}
        reached = {
            alias for name in named for alias in (found.splits[name].aliases if name in found.splits else (name,))
        }
    escalate = routing.get("escalate", {})
    reached |= {escalate[alias]["to"] for alias in reached if alias in escalate}
    chains = compile_chains(routing.get("fallbacks", {}), models)
    return {asked for alias in reached for asked in chains.get(alias, (alias,))}


def route_plan(
    routing: Mapping[str, Any],
    route: str,
    own: str,
    *,
    targets: Mapping[str, Any],
    prompts: Mapping[str, PromptChoice],
) -> RoutePlan:
    """Return the plan of a route; `targets` are what can serve it, by model alias."""
    found = compile_route(routing, route, own, targets)
    escalate = {
        alias: Escalated(entry["to"], entry["above"], entry["logprobs"])
        for alias, entry in routing.get("escalate", {}).items()
        if alias in targets and entry["to"] in targets
    }
    return RoutePlan(
        own=found if isinstance(found, str) else own,
        targets=targets,
        table=found if isinstance(found, RoutingTable) else None,
        chains=compile_chains(routing.get("fallbacks", {}), targets),
        escalate=escalate,
        prompts=prompts,
    )

"""Routes of kind http: services of the user's own, into which nothing here can look.

Checks on what such a service might do by itself ask this before they say that something does not apply, or holds.
"""

from shipway.readiness.facts import Facts
from shipway.readiness.model import Evidence, Outcome, State, UndecidedError


def own_services(facts: Facts) -> tuple[str, ...]:
    """Return the routes that are answered by a service of the user's own."""
    return tuple(name for name, route in facts.the_project().routes.items() if route.kind == "http")


def routes(facts: Facts) -> Evidence:
    """Return the routes with their kinds as evidence."""
    kinds = (f"{name}: {route.kind}" for name, route in facts.the_project().routes.items())
    return facts.setting("routes", says=", ".join(kinds))


def as_far_as_seen(facts: Facts, outcome: Outcome, what: str) -> Outcome:
    """Return an outcome on what passes through the gateway, if that is all there is.

    Raises:
        UndecidedError: it would hold, but a service of the user's own may do `what` by itself.
    """
    own = own_services(facts)
    if not own or outcome.state is State.FAIL:
        return outcome
    why = f"{what} of the service {own[0]} cannot be seen"
    seen = tuple(dict.fromkeys((*outcome.evidence, routes(facts))))
    raise UndecidedError(why, "attest it for the service", seen)

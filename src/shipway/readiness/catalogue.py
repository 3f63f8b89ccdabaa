"""Every check, in the order of reports, and what the maturity levels mean.

The 66 items of the checklists of the guides, and four that the maturity ladder names at its top and no checklist asks.
"""

from shipway.core.canonical import digest_json
from shipway.core.errors import NotFoundError
from shipway.readiness.checks import (
    application,
    delivery,
    docker,
    golive,
    monitoring,
    releasing,
    reliability,
    security,
    testing,
)
from shipway.readiness.model import Check

CHECKS: tuple[Check, ...] = (
    *application.CHECKS,
    *docker.CHECKS,
    *sorted((*delivery.CHECKS, *releasing.CHECKS), key=lambda check: check.number),
    *testing.CHECKS,
    *monitoring.CHECKS,
    *security.CHECKS,
    *reliability.CHECKS,
    *golive.CHECKS,
)
LEVELS = (
    "prototype: it runs on somebody's machine",
    "containerised: an image that can be run anywhere and holds no secret",
    "automated: tested and deployed by itself, safe to meet strangers",
    "production-ready: quality is gated, releases are gradual, somebody would notice",
    "optimised: cost and failure are engineered, new models are tried in the shadow",
)


def check_named(name: str) -> Check:
    """Return a check by its id, in any case.

    Raises:
        NotFoundError: there is none.
    """
    for check in CHECKS:
        if check.id == name.upper():
            return check
    raise NotFoundError(f"no readiness check {name!r}", hint="`shipway readiness` lists them, such as SEC-5")


def wording(check: Check) -> str:
    """Return the digest of what a check asks; a statement on another question does not count."""
    return digest_json([check.id, check.title, check.attest])

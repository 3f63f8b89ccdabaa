"""Reading what users said about answers."""

from dataclasses import dataclass
from typing import Any

from shipway.gateway.feedback import KIND
from shipway.services.application import Installation

_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class FeedbackFilter:
    """Which feedback is wanted; None takes all."""

    route: str | None = None
    release: str | None = None
    tenant: str | None = None
    request: str | None = None


async def list_feedback(app: Installation, wanted: FeedbackFilter, *, limit: int) -> list[dict[str, Any]]:
    """Return the newest feedback of this environment, oldest first."""
    prefix = f"{wanted.request}/" if wanted.request else ""
    rows = [body for _, body, _ in await app.state.documents.list(KIND, prefix=prefix, limit=_PAGE)]
    found = [
        row
        for row in rows
        if row["environment"] == app.environment
        and wanted.route in {None, row["route"]}
        and wanted.tenant in {None, row["tenant"]}
        and (wanted.release is None or row["release"].startswith(wanted.release))
    ]
    return found[-limit:]

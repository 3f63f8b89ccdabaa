"""What moved all traffic at once, as rows: first releases and rollbacks by hand, and whether the workers confirmed it.

`services/deployments.py` writes a row as soon as traffic is told to move and completes it when every worker obeys;
`services/rollbacks.py` reads who was left by a rollback. A row of a version before has no state: it was confirmed.
"""

from dataclasses import dataclass
from typing import Any, Literal

from shipway.core.ids import ReleaseId, ulid
from shipway.services.application import Installation

UNCONFIRMED = "unconfirmed"
CONFIRMED = "confirmed"
_KIND = "deployment"
_MOST = 1_000_000

Kind = Literal["first", "rollback"]


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """All traffic was given to `release` at `at_s` (Unix time); `key` is where the row lies."""

    key: str
    release: str
    at_s: float
    kind: str
    state: str = CONFIRMED

    @property
    def unconfirmed(self) -> bool:
        """Tell whether a worker may still serve by what was before."""
        return self.state == UNCONFIRMED


async def deployment_rows(app: Installation) -> list[DeploymentRow]:
    """Return what moved all traffic of the environment, oldest first."""
    found = await app.state.documents.list(_KIND, prefix=f"{app.environment}/", limit=_MOST)
    return [
        DeploymentRow(key, body["release"], body["at_s"], body["kind"], body.get("state", CONFIRMED))
        for key, body, _ in found
    ]


async def unconfirmed_row(app: Installation, release: ReleaseId | None, kind: Kind) -> DeploymentRow | None:
    """Return the newest row when it is of this release and kind, nobody confirmed it and nothing was stable since."""
    rows = await deployment_rows(app)
    if not rows or not rows[-1].unconfirmed or (rows[-1].release, rows[-1].kind) != (release, kind):
        return None
    history = await app.releases.label_history(app.environment)
    return None if history and history[-1].at_s > rows[-1].at_s else rows[-1]


async def note_moved(app: Installation, release: ReleaseId, kind: Kind, *, at_s: float) -> DeploymentRow:
    """Write that traffic was told to move; what is repeated because nobody confirmed it keeps its row."""
    known = await unconfirmed_row(app, release, kind)
    if known is not None:
        return known
    row = DeploymentRow(f"{app.environment}/{ulid(at_s)}", release, at_s, kind, UNCONFIRMED)
    await app.state.documents.put(_KIND, row.key, _body(app, row, UNCONFIRMED), expected_version=0)
    return row


async def note_confirmed(app: Installation, row: DeploymentRow, *, confirmed_s: float | None) -> None:
    """Complete a row: every worker obeys, after `confirmed_s`; None when none runs."""
    body = _body(app, row, CONFIRMED) | {"confirmed_s": confirmed_s}
    await app.state.documents.put(_KIND, row.key, body)


def _body(app: Installation, row: DeploymentRow, state: str) -> dict[str, Any]:
    return {"release": row.release, "at_s": row.at_s, "actor": app.actor, "kind": row.kind, "state": state}

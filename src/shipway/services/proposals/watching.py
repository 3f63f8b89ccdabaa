"""Proposing cases while it serves: kept texts make room for newer ones, so nobody may look for them too late.

The control process runs this beside its other looks at quality.
"""

from shipway.services.application import Application
from shipway.services.proposals.gathering import gather


class ProposalsWork:
    """Proposes what has gone wrong since the last look."""

    async def work(self, app: Application) -> None:
        """Look once."""
        await gather(app)

    async def close(self) -> None:
        """Hold nothing."""

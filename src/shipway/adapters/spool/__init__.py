"""Records on their way to the store: a line in a file first, a committed row soon after."""

from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.adapters.spool.takeover import Recovery

__all__ = ["RecordSpool", "Recovery", "SpoolLimits"]

"""Records on their way to the store: a line in a file first, a committed row soon after."""

from shipway.adapters.spool.collector import CollectorLimits, SpoolCollector
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits

__all__ = ["CollectorLimits", "RecordSpool", "SpoolCollector", "SpoolLimits"]

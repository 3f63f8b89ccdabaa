"""The data plane: authentication, limits, choice of release, relay to engines, records. No framework."""

"""The data plane: authentication, limits, choice of release, relay to engines, records. Raw ASGI, no framework."""

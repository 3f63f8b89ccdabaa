"""Use cases that join features: one call for each command, handler and console action."""

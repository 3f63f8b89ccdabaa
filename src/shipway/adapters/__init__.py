"""Technology by name: each package implements ports of the core or of a feature and is built by the wiring alone."""

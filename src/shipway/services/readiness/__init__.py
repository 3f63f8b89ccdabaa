"""Collecting what `shipway.readiness` judges: repository, git, settings, store, logs, the running service."""

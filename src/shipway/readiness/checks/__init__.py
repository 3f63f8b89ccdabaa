"""The checks by area; `readiness.catalogue` puts them into one list."""

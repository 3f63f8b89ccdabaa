"""Schema revisions, oldest first by name; `migrate.py` applies them."""

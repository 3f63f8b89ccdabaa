"""State in SQL: SQLite under `.shipway/` on one machine; the same tables fit Postgres."""

"""Log lines and metrics; masking sits in front of every line."""

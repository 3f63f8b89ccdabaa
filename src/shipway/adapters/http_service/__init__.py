"""A user's own HTTP service, asked directly."""

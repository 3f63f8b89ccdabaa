"""Runbooks with the commands of this installation filled in, and what a post-mortem needs of it."""

"""Commit statuses at GitHub and GitLab."""

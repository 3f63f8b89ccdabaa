"""Limits that replicas on several hosts share through Redis."""

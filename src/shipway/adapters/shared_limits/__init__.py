"""Limits that all gateway workers of a host share, without a server."""

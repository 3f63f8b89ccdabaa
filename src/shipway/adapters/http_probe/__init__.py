"""Asking a process for its health over HTTP."""

"""Contracts of HTTP APIs: what is asked, and what the reply must look like."""

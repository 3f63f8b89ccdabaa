"""Keyword search by tantivy."""

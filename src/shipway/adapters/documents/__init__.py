"""Readers of document formats; each implements `rag.ports.DocumentReader`."""

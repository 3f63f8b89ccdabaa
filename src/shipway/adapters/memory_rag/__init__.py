"""Retrieval without models or index files: a mode for small machines, and the tests' fakes."""

"""Retrieval-augmented answering: documents, their index, retrieval under access rules, and cited answers."""

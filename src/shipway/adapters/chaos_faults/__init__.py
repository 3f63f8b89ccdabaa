"""Faults that are real: a proxy before an engine, signals, limits of file sizes, a locked store."""

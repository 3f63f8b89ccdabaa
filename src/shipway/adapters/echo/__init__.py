"""A deterministic engine without a model, with faults on request; for tests and load benches."""

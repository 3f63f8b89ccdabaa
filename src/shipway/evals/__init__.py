"""Datasets, metrics, runs and gates: what decides whether a release may go on."""

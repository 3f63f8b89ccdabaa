"""Samples with only what a test is about filled in."""

from shipway.load.sample import Outcome, Sample


def sample(latency_ms=10.0, *, due_s=0.0, lag_ms=0.0, error="", stage=0, template="question", **outcome):
    ended_s = due_s + latency_ms / 1000
    return Sample(template, stage, due_s, due_s + lag_ms / 1000, Outcome(ended_s, error=error, **outcome))

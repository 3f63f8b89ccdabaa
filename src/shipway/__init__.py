"""Shipway: one release for an LLM application's code, prompts, models, data and policy."""

__version__ = "0.1.0"

"""Datasets that were written for other tools."""

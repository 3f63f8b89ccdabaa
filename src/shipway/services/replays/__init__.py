"""Recorded, masked traffic asked of a release before any user meets it."""

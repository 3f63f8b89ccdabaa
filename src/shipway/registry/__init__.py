"""Releases and what they are made of: manifests, ids, differences, labels."""

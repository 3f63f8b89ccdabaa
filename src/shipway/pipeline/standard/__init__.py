"""Pipelines out of the box: pull request, deploy, model update and nightly, derived from what a repository has."""

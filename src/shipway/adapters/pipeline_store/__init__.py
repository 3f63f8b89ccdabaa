"""Pipelines on the disk of this machine: the project's files, results of before, and the folders of runs."""

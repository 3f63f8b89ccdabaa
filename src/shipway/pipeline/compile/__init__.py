"""Compilers from the pipeline's definition to the files of CI systems: jobs that only call `run-stage`."""

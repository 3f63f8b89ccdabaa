"""The mathematics behind verdicts: intervals, paired and sequential tests, ranking metrics, latency sketches.

Gates (`evals`), canary analysis (`rollouts`) and records import its modules by name. Everything here is pure: no
clock, no I/O, random numbers only from a seed that the caller passes in.
"""

"""Judges of answers: a model that is asked by rubric, and the embedded one."""

"""Moving an environment from its stable release to a candidate, judged by evidence, with a way back at every point."""

"""Chaos experiments: which fault is made, what is promised meanwhile, and whether the promise was kept."""

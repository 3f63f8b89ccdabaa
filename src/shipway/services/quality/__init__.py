"""Judging what users get while they get it: shadow pairs, sampled answers, goldens, and the rules on all of them."""

"""Load tests: what is asked when, what came back, and what that says about the limits."""

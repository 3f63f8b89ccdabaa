"""The stages from commit to production: what they are, in which order they run, what came of them."""

"""State in memory: a mode of its own and the fake that tests use."""

"""Other people's evaluation tools, each a program in an environment of its own."""

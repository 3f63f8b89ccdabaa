"""What built-in stages do; loaded when one runs."""

"""What other people's programs say, read into findings: one module for each program or format."""

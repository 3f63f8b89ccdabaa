"""What other people's evaluation tools wrote, as findings and scores that gates judge."""

"""The webhook receiver: its HTTP server and its process."""

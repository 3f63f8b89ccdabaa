"""What the gateway keeps in Redis: cached answers and conversations."""

"""Cases proposed from what went wrong in production; a person accepts or rejects each."""

"""The OpenAI HTTP API from both sides: a client for any endpoint, and the server face of the embedded engines."""

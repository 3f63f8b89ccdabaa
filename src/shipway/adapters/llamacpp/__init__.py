"""The embedded engine: llama.cpp behind an OpenAI-compatible server of its own."""

"""Counting tokens with a model's own tokenizer."""

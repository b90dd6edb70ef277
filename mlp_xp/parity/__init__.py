"""Compare backends step by step."""

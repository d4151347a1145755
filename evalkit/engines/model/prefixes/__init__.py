"""Reading prompts in parts: what they share once, then the rest of each; and decoding on the cache."""

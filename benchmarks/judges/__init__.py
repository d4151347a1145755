"""Judges: their prompts, and one made of rules."""

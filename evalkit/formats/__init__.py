"""Formats of other tools: answers read, runs imported and exported."""

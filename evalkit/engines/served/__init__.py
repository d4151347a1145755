"""Pieces of the OpenAI-compatible engine: messages, endpoints, a fleet of servers."""

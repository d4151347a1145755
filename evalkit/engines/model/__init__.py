"""Pieces of the transformers engine: loading, encoding, batching, running."""

"""Engines answer prompts. The harness, the judge, the aligners and the labelers all use the same three operations."""

from evalkit.engines.base import Choices, Engine, TokenLogprobs

__all__ = ["Choices", "Engine", "TokenLogprobs"]

"""Hallucination evaluation for vision-language models: the harness every benchmark and aligner runs on."""

__version__ = "0.1.0"

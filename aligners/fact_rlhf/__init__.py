"""Fact-augmented RLHF (LLaVA-RLHF, Sun et al. 2023, arXiv:2309.14525)."""

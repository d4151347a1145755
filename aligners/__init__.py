"""Alignment methods: dense DPO, online RLAIF, fact-augmented RLHF; `evalkit align METHOD` runs them."""

"""Feedback for preference training: candidates, claims, labels, pairs (RLAIF-V)."""

"""AMBER (Wang et al. 2023, arXiv:2311.07397)."""

from benchmarks.amber.benchmark import AMBER

__all__ = ["AMBER"]

"""Object HalBench (Yu et al. 2024, arXiv:2312.00849)."""

from benchmarks.object_halbench.benchmark import ObjectHalBench

__all__ = ["ObjectHalBench"]

"""MMHal-Bench (Sun et al. 2023, arXiv:2309.14525)."""

from benchmarks.mmhal.benchmark import MMHalBench

__all__ = ["MMHalBench"]

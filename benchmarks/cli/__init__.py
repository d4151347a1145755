"""The benchmarks' part of the command line."""

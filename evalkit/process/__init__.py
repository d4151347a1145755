"""The process around the work: progress, interruption, installed libraries."""

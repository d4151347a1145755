"""Validation by simulation: `make validate`. Exits with 1 if a promise of docs/statistics.md is broken."""

import sys

from tests.validation import coverage, fronts

kept = [coverage.main(), fronts.main()]
sys.exit(0 if all(kept) else 1)

"""Validation by simulation: `make validate`. Exits with 1 if a promise of docs/statistics.md is broken."""

import sys

from tests.validation.coverage import main

sys.exit(0 if main() else 1)

"""The dashboard: run directories in the browser. It imports evalkit only."""

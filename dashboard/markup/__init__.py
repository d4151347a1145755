"""Escaped HTML of the pages."""

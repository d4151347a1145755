"""Scenes in the official file formats."""

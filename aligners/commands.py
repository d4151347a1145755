"""Sub-commands that train and compare checkpoints."""

from typing import Any


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""

"""The same captions as a task of lmms-eval: its functions. They run in its environment, in a folder of tasks."""

from typing import Any

from PIL import Image


def visual(row: dict[str, Any]) -> list[Image.Image]:
    """The image of a row."""
    return [Image.open(row["path"]).convert("RGB")]


def text(row: dict[str, Any]) -> str:
    """The question of a row."""
    return str(row["question"])


def results(row: dict[str, Any], responses: list[str]) -> dict[str, float]:
    """Words of the response."""
    return {"length": float(len(responses[0].split()))}

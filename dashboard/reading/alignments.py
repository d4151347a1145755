"""Alignment runs: card, training log, pairs, iterations. What cannot be read becomes a sentence among `problems`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dashboard.reading.cache import Row, cached
from evalkit.runs.records import read_journal, read_json
from evalkit.schema import Json

CARD, TRAINING, PAIRS, ITERATIONS = "card.json", "training.jsonl", "pairs.jsonl", "iterations.jsonl"


# --- alignments and published rows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """What an alignment left behind; absent parts are empty.

    card        card.json
    steps       lines of training.jsonl; of an alignment in iterations those of all of them, each with its "iteration"
    pairs       lines of pairs.jsonl, likewise; image paths are absolute
    iterations  lines of iterations.jsonl
    """

    path: Path
    card: Mapping[str, Json]
    steps: Sequence[Row]
    pairs: Sequence[Row]
    iterations: Sequence[Row]


def open_alignment(path: Path) -> Alignment:
    """Read a checkpoint folder.

    Raises:
        RecordError: if a file of it cannot be read.
    """
    steps, pairs = _lines(path / TRAINING), _pairs(path)
    for number, folder in _iterations(path):
        steps += [row | {"iteration": number} for row in _lines(folder / "checkpoint" / TRAINING)]
        pairs += _pairs(folder)
    card = cached(path / CARD, read_json) if (path / CARD).exists() else {}
    return Alignment(path, card, steps, pairs, _lines(path / ITERATIONS))


def _lines(path: Path) -> list[dict[str, Json]]:
    return list(cached(path, read_journal)) if path.exists() else []


def _pairs(path: Path) -> list[dict[str, Json]]:
    folder = _pairs_folder(path)
    return [
        pair | ({"image": str(folder / pair["image"])} if pair.get("image") and isinstance(pair["image"], str) else {})
        for pair in _lines(folder / PAIRS)
        if all(isinstance(pair.get(key), str) for key in ("prompt", "chosen", "rejected"))
    ]


def _pairs_folder(path: Path) -> Path:
    """Where an alignment keeps its pairs: beside the card, where it made them, or above the iteration's checkpoint."""
    folders = [path, path / "training" / "pairs"]
    if path.name == "checkpoint":
        folders.append(path.parent)
    return next((folder for folder in folders if (folder / PAIRS).exists()), path)


def _iterations(path: Path) -> list[tuple[int, Path]]:
    """Numbers and folders of an alignment's iterations, in order."""
    folders = {folder: folder.name.removeprefix("iteration_") for folder in path.glob("iteration_*")}
    return sorted((int(number), folder) for folder, number in folders.items() if number.isdecimal())

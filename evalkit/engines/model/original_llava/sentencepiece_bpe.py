"""A sentencepiece BPE model as a fast tokenizer that gives sentencepiece's own ids.

transformers 5.19 orders the merges of such a model by id, sentencepiece by score: two spaces in a row, which have the
lowest score of all, are then merged first ("is  shown" gives other tokens). Here the scores count. Every stretch of
text between special tokens begins with "▁", whatever its first character is, as sentencepiece's dummy prefix does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import EngineError


def read_model(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(piece -> id, merges in the order in which they apply).

    Raises:
        EngineError: if sentencepiece is not installed, or the file is not a model of it.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise EngineError(f"{path} needs sentencepiece: pip install 'hallu-evalkit[llava]'") from error
    try:
        model: Any = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise EngineError(f"{path}: not a sentencepiece model: {error}") from error
    count = range(model.get_piece_size())
    ids = {model.id_to_piece(i): i for i in count}
    mergeable = {
        model.id_to_piece(i): model.get_score(i)
        for i in count
        if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i) or model.is_unused(i))
    }
    return ids, _merges(ids, mergeable)


def _merges(ids: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    merges = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                merges.append((-score, len(left), len(right), ids[left], ids[right], left, right))
    merges.sort(key=lambda merge: merge[:5])
    return [(left, right) for *_, left, right in merges]


def with_own_merges(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """A tokenizer.json made of another conversion, with the model's own merges and prefix."""
    ids, merges = read_model(path)
    state["model"] |= {"vocab": ids, "merges": [list(pair) for pair in merges]}
    prefix = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    return state | {"normalizer": {"type": "Sequence", "normalizers": prefix}, "pre_tokenizer": None}

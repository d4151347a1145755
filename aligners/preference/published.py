"""Rows of data sets that ship pairs in a form of their own.

    POVID       conversations and rejected_conversations (LLaVA's form), image; Zhou et al. 2024, arXiv:2402.11411
    VLFeedback  prompt, completions of several models with ratings of three aspects; Li et al. 2023, arXiv:2312.10665

VLFeedback's completions become pairs as in Silkie: every two whose mean rating differs, the better one chosen.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from aligners.preference.pairs import MARKER
from evalkit.errors import DataError
from evalkit.files.rows import Row


def is_povid(fields: Mapping[str, Any]) -> bool:
    """Whether a row holds two conversations."""
    return "conversations" in fields and "rejected_conversations" in fields


def is_vlfeedback(fields: Mapping[str, Any]) -> bool:
    """Whether a row holds rated completions."""
    return "completions" in fields and "prompt" in fields


def povid_texts(row: Row) -> dict[str, str]:
    """question, chosen, rejected of a row.

    Raises:
        DataError: if a conversation is not one question and one answer, or the questions differ.
    """
    question, chosen = _one_turn(row, "conversations")
    other, rejected = _one_turn(row, "rejected_conversations")
    if question != other:
        raise DataError(f"{row.where}: conversations and rejected_conversations ask different questions")
    return {"question": question, "chosen": chosen, "rejected": rejected}


def _one_turn(row: Row, column: str) -> tuple[str, str]:
    turns = row.fields[column]
    said = [turn.get("value") if isinstance(turn, Mapping) else None for turn in turns or ()]
    who = [turn.get("from") if isinstance(turn, Mapping) else None for turn in turns or ()]
    if who != ["human", "gpt"] or not all(isinstance(text, str) for text in said):
        raise DataError(f"{row.where}: expected one human and one gpt turn with texts in {column}, got {who}")
    return str(said[0]).replace(MARKER, "").strip(), str(said[1])


def vlfeedback_texts(row: Row) -> list[tuple[str, dict[str, str]]]:
    """(name of the pair within the row, question, chosen and rejected) for every two completions that differ.

    Raises:
        DataError: if a completion has no response, or its ratings are no numbers.
    """
    question = row.fields["prompt"]
    completions = _entries(row)
    if not isinstance(question, str):
        raise DataError(f"{row.where}: prompt is no text")
    rated = [(_mean_rating(row, entry), _response(row, entry)) for entry in completions]
    pairs = []
    for (i, first), (j, second) in combinations(enumerate(rated), 2):
        if first[0] == second[0]:
            continue
        better, worse = (first, second) if first[0] > second[0] else (second, first)
        texts = {"question": question.replace(MARKER, "").strip(), "chosen": better[1], "rejected": worse[1]}
        pairs.append((f"{i}-{j}", texts))
    return pairs


def _entries(row: Row) -> Sequence[Mapping[str, Any]]:
    """The completions: a list of objects, or (as `datasets` stores it) an object of lists."""
    value = row.fields["completions"]
    if isinstance(value, Mapping):
        count = {len(column) for column in value.values()}
        if len(count) == 1:
            value = [{name: column[i] for name, column in value.items()} for i in range(count.pop())]
    if not isinstance(value, Sequence) or not all(isinstance(entry, Mapping) for entry in value):
        raise DataError(f"{row.where}: completions is no list of objects")
    return value


def _response(row: Row, entry: Mapping[str, Any]) -> str:
    if not isinstance(entry.get("response"), str):
        raise DataError(f"{row.where}: a completion has no text `response`")
    return str(entry["response"])


def _mean_rating(row: Row, entry: Mapping[str, Any]) -> float:
    aspects = entry.get("annotations")
    if not isinstance(aspects, Mapping) or not aspects:
        raise DataError(f"{row.where}: a completion has no annotations")
    try:
        ratings = [float(aspect["Rating"]) for aspect in aspects.values()]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{row.where}: a rating is no number ({error})") from error
    return sum(ratings) / len(ratings)

"""Texts that a judge wrote elsewhere, joined to the items of a benchmark.

A row names its item by id, question_id, index or image (a number that is the item's place in some files, and its id
here), and holds the text under one of the names in use:

    reply        verdicts.jsonl of a run
    judge_text   rows of one's own
    content      LLaVA-Bench's review file
    review, review_res  RefoMB's two passes; the second names its item by the text of the first (review_text)
    mscoco_generated_words  Object HalBench's review file: the words that the script found, with their categories; the
                 text is that list alone, as JSON
    choices      answers of an API as they came: MMHal-Bench's script lists them in the order of the questions

Only that last list is joined by position, and only if it is as long as the benchmark.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.rows import Row, read_rows
from evalkit.formats.keys import key_text
from evalkit.schema import Item

TEXTS = ("reply", "judge_text", "content", "review", "review_res", "text")
KEYS = ("id", "question_id", "index", "image_id", "image")
WORDS = "mscoco_generated_words"
SHOWN = 5
Key = tuple[str, str, int]  # round ("" is the first), item id, sample


def read_judge_texts(paths: Sequence[Path], items: Sequence[Item], rounds: Sequence[str] = ()) -> dict[Key, str]:
    """Round, item and sample -> text.

    Args:
        rounds: names of the benchmark's further rounds; RefoMB's second pass belongs to the first of them.
    Raises:
        DataError: if a file cannot be read, or a row has no text, no key, a key of no item, or one that was there.
    """
    known = {item.id: item for item in items}
    texts: dict[Key, str] = {}
    places: dict[Key, str] = {}
    rows = [row for path in paths for row in read_rows(path)]
    by_review = {str(row.fields["review"]): row for row in rows if isinstance(row.fields.get("review"), str)}
    by_position = all("choices" in row.fields and not any(key in row.fields for key in KEYS) for row in rows)
    if by_position and len(rows) != len(items):
        raise DataError(
            f"{rows[0].where}: {len(rows)} answers without ids for {len(items)} items; they can be joined by position "
            "only if all are there"
        )
    for number, row in enumerate(rows):
        text = _text(row)
        if text is None:  # a verdict of a run that failed
            continue
        name = items[number].id if by_position else _item_id(row, known, by_review)
        key = (_round(row, rounds), name, _sample(row))
        if key in texts and texts[key] != text and "attempts" not in row.fields:
            raise DataError(f"{row.where}: item {name!r} has a second text, before at {places[key]}")
        texts[key], places[key] = text, row.where
    return texts


def _text(row: Row) -> str | None:
    fields = row.fields
    if "choices" in fields:
        return _api_text(row)
    if WORDS in fields:
        return _words_text(row)
    name = next((name for name in ("review_res", *TEXTS) if name in fields), None)
    if name is None:
        if isinstance(fields.get("failure"), str):
            return None
        raise DataError(f"{row.where}: no field {' or '.join(map(repr, TEXTS))}; found {', '.join(list(fields)[:10])}")
    if not isinstance(fields[name], str):
        raise DataError(f"{row.where}: {name!r} must be a text, found {fields[name]!r:.60}")
    return str(fields[name])


def _api_text(row: Row) -> str:
    try:
        text = row.fields["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"{row.where}: 'choices' holds no message with a content") from error
    if not isinstance(text, str):
        raise DataError(f"{row.where}: the message's content must be a text, found {text!r:.60}")
    return text


def _words_text(row: Row) -> str:
    """The words of a review file's row, in the order found."""
    pairs = row.fields[WORDS]
    where = f"{row.where}: item {row.fields.get('image_id')!r:.60}: {WORDS!r}"
    if not isinstance(pairs, list):
        raise DataError(f"{where} must be a list of [word, category], found {pairs!r:.60}")
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
            raise DataError(f"{where}, word {number} must be [word, category], found {pair!r:.60}")
    if len({word for word, _ in pairs}) != len(pairs):
        raise DataError(f"{where} holds a word twice; Object HalBench counts a word once")
    return json.dumps({WORDS: pairs}, ensure_ascii=False)


def _item_id(row: Row, known: Mapping[str, Item], by_review: Mapping[str, Row]) -> str:
    fields: Mapping[str, Any] = row.fields
    if "review_text" in fields:
        first = by_review.get(str(fields["review_text"]))
        if first is None:
            raise DataError(f"{row.where}: no first review has this 'review_text'; name its file too")
        fields = first.fields
    for name in KEYS:
        if fields.get(name) is not None and not isinstance(fields[name], dict):
            item_id = key_text(fields[name], f"{row.where}: {name!r}")
            if item_id in known:
                return item_id
            raise DataError(f"{row.where}: no item with {name} {item_id!r}, e.g. {', '.join(list(known)[:SHOWN])}")
    raise DataError(f"{row.where}: no field {' or '.join(map(repr, KEYS))}; found {', '.join(list(fields)[:10])}")


def _round(row: Row, rounds: Sequence[str]) -> str:
    name = row.fields.get("round", "")
    if "review_res" in row.fields and rounds:
        return rounds[0]
    if name not in ("", *rounds):
        raise DataError(f"{row.where}: 'round' must be one of {', '.join(map(repr, ('', *rounds)))}, found {name!r}")
    return str(name)


def _sample(row: Row) -> int:
    sample = row.fields.get("sample", 0)
    if type(sample) is not int or sample < 0:
        raise DataError(f"{row.where}: 'sample' must be 0, 1, ..., found {sample!r:.60}")
    return sample

"""Pairs in the forms of other trainers, there and back.

    trl             JSON Lines: images, prompt, chosen, rejected (messages)                        DPOTrainer
    llama-factory   JSON list: conversations, chosen, rejected, images, and dataset_info.json      ranking, ShareGPT
    ms-swift        JSON Lines: messages, rejected_response, images                                swift rlhf

Image paths are written absolute. `id` and `meta` stand beside (the latter as text, so that every row has the same
columns); the trainers ignore them, and they bring a pair back as it was.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from aligners.preference.builders import conversations
from aligners.preference.pairs import MARKER, Pair, refuse_several_images, write_pairs
from evalkit.errors import DataError, UsageError
from evalkit.files.atomic import replace_text
from evalkit.files.json_values import json_value
from evalkit.schema import Json

Form = Literal["trl", "llama-factory", "ms-swift"]
FORMS: tuple[str, ...] = get_args(Form)
DATASET_INFO = "dataset_info.json"


def write_exchange(pairs: Iterable[Pair], path: Path, form: str) -> int:
    """Write pairs for another trainer; returns how many. An existing file is replaced in one step.

    Args:
        pairs: what to write.
        path: of the new file; llama-factory gets a dataset_info.json beside it (with the file's name as data set).
        form: one of FORMS.
    Raises:
        UsageError: if there is no such form.
        DataError: if a text holds "<image>", which these trainers would take for an image, or a pair is unusable.
    """
    if form not in FORMS:
        raise UsageError(f"unknown form {form!r}; known: {', '.join(FORMS)}, llava, evalkit")
    rows = []
    for pair in pairs:
        _check(pair)
        beside = {"id": pair.id, "meta": json.dumps(dict(pair.meta), ensure_ascii=False)}
        rows.append(_WRITERS[form](_placed(pair)) | beside)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "llama-factory":
        replace_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        _register(path)
    else:
        replace_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def write_as(pairs: Sequence[Pair], path: Path, form: str) -> int:
    """`write_exchange`, and two more forms: "evalkit" (a pairs file), "llava" (chosen responses as conversations)."""
    if form not in ("evalkit", "llava"):
        return write_exchange(pairs, path, form)
    path.parent.mkdir(parents=True, exist_ok=True)
    placed = [_placed(pair) for pair in pairs]
    if form == "evalkit":
        return write_pairs(path, placed)
    rows = conversations(placed)
    replace_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    return len(rows)


def _placed(pair: Pair) -> Pair:
    """The pair with its image's absolute path."""
    for image in pair.images:
        return replace(pair, image=str((image.folder / image.name).resolve()))
    return pair


def pair_from(row: Mapping[str, Json], where: str, number: int) -> Pair | None:
    """The pair of a row in one of the forms; None if it is in none of them.

    Args:
        row: of the file.
        where: file and row, for messages.
        number: of the row, its id where it has none.
    Raises:
        DataError: if it is in one of the forms but no pair: several images or turns, or a text is missing.
    """
    form = form_of(row)
    if form is None:
        return None
    images = row.get("images") or ([row["image"]] if row.get("image") else [])
    if isinstance(images, str):
        images = [images]
    refuse_several_images({"images": images}, where)
    image = images[0] if images else None
    if isinstance(image, Mapping):
        image = image.get("path")
    if image is not None and not isinstance(image, str):
        raise DataError(f"{where}: an image must be a path here, got {type(image).__name__}")
    try:
        prompt, chosen, rejected = _READERS[form](row)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{where}: not a row of the form {form}: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    meta = row.get("meta")
    if isinstance(meta, str):
        try:
            meta = json_value(meta)
        except ValueError as error:
            raise DataError(f"{where}: meta is not JSON ({error})") from error
    return Pair(str(row.get("id", number)), image, prompt.replace(MARKER, "").strip(), chosen, rejected, meta or {})


def form_of(row: Mapping[str, Json]) -> str | None:
    """The form that a row's columns tell, or None."""
    if "rejected_response" in row and "messages" in row:
        return "ms-swift"
    if "conversations" in row and isinstance(row.get("chosen"), Mapping):
        return "llama-factory"
    if isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list):
        return "trl"
    return None


def _check(pair: Pair) -> None:
    defect = pair.defect()
    if defect is not None:
        raise DataError(f"pair {pair.id!r}: {defect}")
    if any(MARKER in text for text in (pair.prompt, pair.chosen, pair.rejected)):
        raise DataError(f"pair {pair.id!r}: a text holds {MARKER!r}, which these trainers take for an image")


def _register(path: Path) -> None:
    """Name the file in LLaMA-Factory's list of data sets, beside what the list already holds."""
    listing = path.parent / DATASET_INFO
    try:
        known = json_value(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    except ValueError as error:
        raise DataError(f"{listing}: not JSON ({error}); repair it or remove it") from error
    if not isinstance(known, dict):
        raise DataError(f"{listing}: expected an object of data sets; repair it or remove it")
    columns = {name: name for name in ("chosen", "rejected", "images")} | {"messages": "conversations"}
    known[path.stem] = {"file_name": path.name, "ranking": True, "formatting": "sharegpt", "columns": columns}
    replace_text(listing, json.dumps(known, indent=1) + "\n")


# --- each form ----------------------------------------------------------------------------------------------------


def _to_trl(pair: Pair) -> dict[str, Any]:
    return {
        "images": [] if pair.image is None else [pair.image],
        "prompt": [{"role": "user", "content": pair.prompt}],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }


def _from_trl(row: Mapping[str, Any]) -> tuple[str, str, str]:
    prompt, chosen, rejected = (list(row.get(name) or []) for name in ("prompt", "chosen", "rejected"))
    if not prompt and len(chosen) == len(rejected) == 2 and chosen[0] == rejected[0]:  # the prompt is inside both
        prompt, chosen, rejected = chosen[:1], chosen[1:], rejected[1:]
    _one_turn(prompt, "user")
    return _content(prompt[0]), _content(chosen[-1]), _content(rejected[-1])


def _to_llama_factory(pair: Pair) -> dict[str, Any]:
    return {
        "conversations": [{"from": "human", "value": _marked(pair)}],
        "chosen": {"from": "gpt", "value": pair.chosen},
        "rejected": {"from": "gpt", "value": pair.rejected},
        "images": [] if pair.image is None else [pair.image],
    }


def _from_llama_factory(row: Mapping[str, Any]) -> tuple[str, str, str]:
    turns = [{"role": "user" if turn["from"] == "human" else turn["from"]} for turn in row["conversations"]]
    _one_turn(turns, "user")
    return row["conversations"][0]["value"], row["chosen"]["value"], row["rejected"]["value"]


def _to_ms_swift(pair: Pair) -> dict[str, Any]:
    messages = [{"role": "user", "content": _marked(pair)}, {"role": "assistant", "content": pair.chosen}]
    return {
        "messages": messages,
        "rejected_response": pair.rejected,
        "images": [] if pair.image is None else [pair.image],
    }


def _from_ms_swift(row: Mapping[str, Any]) -> tuple[str, str, str]:
    messages = row["messages"]
    _one_turn(messages[:-1], "user")
    return _content(messages[0]), _content(messages[-1]), row["rejected_response"]


def _marked(pair: Pair) -> str:
    return pair.prompt if pair.image is None else MARKER + pair.prompt


def _one_turn(turns: Sequence[Mapping[str, Any]], role: str) -> None:
    roles = [turn.get("role") for turn in turns]
    if roles != [role]:
        raise ValueError(
            f"a pair answers one question of a user; the turns here are {', '.join(map(str, roles)) or 'none'}"
        )


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message, image blocks left out."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content)


_WRITERS: Mapping[str, Callable[[Pair], dict[str, Any]]] = {
    "trl": _to_trl,
    "llama-factory": _to_llama_factory,
    "ms-swift": _to_ms_swift,
}
_READERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str, str]]] = {
    "trl": _from_trl,
    "llama-factory": _from_llama_factory,
    "ms-swift": _from_ms_swift,
}

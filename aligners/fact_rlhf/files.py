"""The data files of LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525): comparisons for the reward model, prompts for PPO.

Both are JSON lists. A comparison: id, image, conversations [{from: human | gpt, value}], output_1 {value}, output_2
{value}, preference 1 | 2, hallucination (optional); the last gpt turn gives way to the two outputs. A prompt: image,
conversations (the first user turn is the prompt), caption_type 1-7 (`aligners.reward_model.facts.AnswerKind`, default
general), length_bonus (multiplier of the length term, default 1). "<image>" placeholders are removed from the texts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from aligners.preference.pairs import MARKER, refuse_several_images
from aligners.reward_model.comparisons import Comparison
from aligners.reward_model.facts import AnswerKind
from aligners.rl.rollouts import RolloutPrompt
from evalkit.errors import DataError
from evalkit.files.rows import parse_json, read_text
from evalkit.images import ImageFile
from evalkit.schema import Json, Turn

T = TypeVar("T")


def read_comparisons(path: Path, image_folder: Path) -> list[Comparison]:
    """Comparisons of a file, in order; their image names begin at `image_folder`.

    Raises:
        DataError: if the file is absent or a row is not of the form above (its number, from 0, is named).
    """
    return _rows(path, image_folder, _comparison)


def read_rollout_prompts(path: Path, image_folder: Path) -> list[RolloutPrompt]:
    """Prompts of a file, in order; their image names begin at `image_folder`.

    Raises:
        DataError: as `read_comparisons`.
    """
    return _rows(path, image_folder, _rollout_prompt)


def _rows(path: Path, image_folder: Path, read: Callable[[Mapping[str, Json], int, Path], T]) -> list[T]:
    rows = parse_json(read_text(path), str(path), whole_file=True)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a JSON list of rows")
    rows_read: list[T] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: expected an object, got {row!r:.60}")
        refuse_several_images(row, f"{path}: row {number}", ["\n".join(_asked(row))], what="row")
        try:
            rows_read.append(read(row, number, image_folder))
        except KeyError as error:
            raise DataError(f"{path}: row {number}: {error} is missing; found: {', '.join(sorted(row))}") from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError(f"{path}: row {number}: {error}") from error
    return rows_read


def _asked(row: Mapping[str, Json]) -> list[str]:
    """What the user says."""
    turns = row.get("conversations")
    dicts = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    return [str(turn.get("value")) for turn in dicts if turn.get("from") == "human"]


def _comparison(row: Mapping[str, Json], number: int, image_folder: Path) -> Comparison:
    turns = _turns(row)
    if turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    if not turns or turns[-1].role != "user":
        raise ValueError("the conversation has no user turn to answer")
    preference = row["preference"]
    if preference not in (1, 2):
        raise ValueError(f"preference must be 1 or 2, got {preference!r}")
    responses = (_text(row["output_1"]["value"]), _text(row["output_2"]["value"]))
    seen = row.get("hallucination")
    return Comparison(
        str(row.get("id", number)),
        ImageFile(image_folder, _text(row["image"])),
        turns,
        responses,
        preference - 1,
        None if seen is None else bool(seen),
    )


def _rollout_prompt(row: Mapping[str, Json], number: int, image_folder: Path) -> RolloutPrompt:
    turns = _turns(row)
    if not turns or turns[0].role != "user":
        raise ValueError("the conversation does not begin with a user turn")
    kind = row.get("caption_type", AnswerKind.GENERAL)
    if kind not in set(AnswerKind):
        raise ValueError(f"caption_type must be 1 to 7, got {kind!r}")
    return RolloutPrompt(
        str(row.get("id", number)),
        ImageFile(image_folder, _text(row["image"])),
        turns[0].text,
        AnswerKind(kind),
        float(row.get("length_bonus", 1.0)),
    )


def _turns(row: Mapping[str, Json]) -> tuple[Turn, ...]:
    turns = []
    for turn in row["conversations"]:
        if turn["from"] not in ("human", "gpt"):
            raise ValueError(f"turns come from 'human' or 'gpt', got {turn['from']!r}")
        text = _text(turn["value"]).replace(MARKER, "").strip()
        turns.append(Turn("user" if turn["from"] == "human" else "assistant", text))
    return tuple(turns)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value

"""Instructions: what a policy is asked during training without given responses (online feedback, PPO).

A prompts file is JSON Lines, one object per instruction: id, image (path, relative to the file's folder or absolute; or
null), prompt (the text).
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aligners.preference.pairs import refuse_several_images
from evalkit.errors import DataError
from evalkit.files.json_values import json_value
from evalkit.images import ImageFile
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class Instruction:
    """One prompt of a prompts file; `folder` is where its relative image path begins."""

    id: str
    image: str | None
    prompt: str
    folder: Path

    @property
    def images(self) -> tuple[ImageFile, ...]:
        """The image, if there is one."""
        return () if self.image is None else (ImageFile.at(self.image, self.folder),)

    def ask(self, text: str | None = None, prompt_id: str | None = None) -> Prompt:
        """The prompt for an engine; with another text, a question about the same image."""
        return Prompt(prompt_id or self.id, self.prompt if text is None else text, self.images)


def read_instructions(path: Path) -> list[Instruction]:
    """Instructions of a prompts file, in order.

    Raises:
        DataError: if the file is absent or empty, a line is not an instruction, an id occurs twice, or images are
            missing (how many, and the first few of them).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such prompts file")
    instructions: dict[str, Instruction] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                instruction = _instruction(line, path, number)
                if instruction.id in instructions:
                    raise DataError(f"{path}:{number}: id {instruction.id!r} occurs twice")
                instructions[instruction.id] = instruction
    if not instructions:
        raise DataError(f"{path}: no prompts in it")
    _check_images(path, list(instructions.values()))
    return list(instructions.values())


def _instruction(line: str, path: Path, number: int) -> Instruction:
    try:
        row = json_value(line)
    except ValueError as error:
        raise DataError(f"{path}:{number}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: expected an object with id, image, prompt")
    refuse_several_images(row, f"{path}:{number}", what="prompt")
    identifier, image, prompt = row.get("id"), row.get("image"), row.get("prompt")
    identifier = str(identifier) if isinstance(identifier, int) else identifier
    if not isinstance(identifier, str) or not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{path}:{number}: expected text under id and prompt; keys here: {', '.join(sorted(row))}")
    if "image" not in row:
        raise DataError(
            f"{path}:{number}: no image (null for a prompt without one); keys here: {', '.join(sorted(row))}"
        )
    if not (image is None or isinstance(image, str)):
        raise DataError(f"{path}:{number}: image is a path or null, not {type(image).__name__}")
    return Instruction(identifier, image, prompt, path.parent.resolve())


def _check_images(path: Path, instructions: Sequence[Instruction]) -> None:
    missing = []
    for instruction in instructions:
        try:
            for image in instruction.images:
                _ = image.path
        except DataError as error:
            missing.append(f"{instruction.id}: {error}")
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(instructions)} images cannot be used: {'; '.join(missing[:3])}"
        )


def instructions_hash(instructions: Sequence[Instruction]) -> str:
    """Hash of ids, texts and image bytes, 16 hex digits."""
    digest = hashlib.sha256()
    for row in instructions:
        digest.update(json.dumps([row.id, row.prompt, [image.sha256() for image in row.images]]).encode())
    return digest.hexdigest()[:16]


def rounds(instructions: Sequence[Instruction], size: int, number: int, seed: int) -> list[Instruction]:
    """The instructions of round `number` (from 1): consecutive pieces of a shuffled list, which repeats when used up.

    A round never holds an instruction twice: with fewer instructions than `size`, it has them all.
    """
    shuffled = list(instructions)
    random.Random(f"rounds:{seed}").shuffle(shuffled)
    size = min(size, len(shuffled))
    begin = (number - 1) * size
    return [shuffled[index % len(shuffled)] for index in range(begin, begin + size)]

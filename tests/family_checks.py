"""What is asked of every family: the cells of the table in docs/checkpoints.md are what these checks find."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_families import FURTHER_FAMILIES, build_further, save_further
from tiny_models import FAMILIES, build_tiny, save_tiny

from aligners.ddpo import align_ddpo
from aligners.preference.pairs import Pair, write_pairs
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EvalkitError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

ALL = (*FAMILIES, *FURTHER_FAMILIES)
GREEDY = Sampling(max_new_tokens=8)
QUESTIONS = ("Is there a dog in the image?", "Yes", "Describe the image in detail.")
GROUPS = [["Yes", "yes"], ["No", "no"]]
ANSWERS = ["There is a dog.", "No", "a cup"]
YES = "yes"


def built(family: str) -> tuple[Any, Any]:
    """Model and processor of a family."""
    return build_further(family) if family in FURTHER_FAMILIES else build_tiny(family)


def some_prompts(folder: Path) -> list[Prompt]:
    """Three questions about three images of different sizes."""
    draw = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(draw.integers(0, 255, (30 + 7 * i, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [Prompt(str(i), QUESTIONS[i], (ImageFile(folder, f"{i}.png"),)) for i in range(3)]


class Checks:
    """The checks of one family; each raises where the family fails it."""

    def __init__(self, family: str, prompts: Sequence[Prompt], folder: Path) -> None:
        self.family, self.prompts, self.folder = family, list(prompts), folder
        self.engine = TransformersEngine.from_live(*built(family), name=family)

    def cells(self) -> Iterator[tuple[str, str]]:
        """(column, "yes" or "no: why")."""
        columns: dict[str, Callable[[], None]] = {
            "generate": self.generates,
            "batch = single": self.generates_in_a_batch,
            "choices": self.chooses,
            "logprobs": self.measures,
            "training": self.trains,
        }
        for column, check in columns.items():
            try:
                check()
            except (AssertionError, EvalkitError) as error:
                yield column, f"no: {next(iter(str(error).splitlines()), '')}"
            else:
                yield column, YES

    def prompt(self) -> str:
        """How the family is asked."""
        told = "own template" if self.engine.encoder.format.template is None else "built-in prompt"
        return told + ("; rows encoded singly" if self.engine.encoder.format.singly else "")

    def generates(self) -> None:
        """Every prompt gets tokens."""
        assert all(self._said(1).values())

    def generates_in_a_batch(self) -> None:
        """The same tokens in a batch as alone."""
        assert self._said(8) == self._said(1)

    def chooses(self) -> None:
        """Masses of the groups do not depend on the batch, and are the probabilities of their first tokens."""
        alone, together = ([m for c in self._sized(n).choices(self.prompts, GROUPS) for m in c.masses] for n in (1, 8))
        assert together == pytest.approx(alone, rel=1e-4)
        assert all(0 < mass < 1 for mass in alone)

    def measures(self) -> None:
        """Log-probabilities do not depend on the batch, and greedy decoding picked the most likely tokens."""
        alone, together = (
            [v for row in self._sized(n).logprobs(self.prompts, ANSWERS) for v in row.logprobs] for n in (1, 8)
        )
        assert together == pytest.approx(alone, abs=1e-4)
        ids = list(self._said(1)[self.prompts[0].id])
        (row,) = self.engine.logprobs(self.prompts[:1], [ids])
        for place in (0, 3):
            for token in (40, 50):
                (other,) = self.engine.logprobs(self.prompts[:1], [[*ids[:place], token]])
                assert row.logprobs[place] >= other.logprobs[-1]

    def trains(self) -> None:
        """Two steps of DPO leave a checkpoint that answers."""
        save = save_further if self.family in FURTHER_FAMILIES else save_tiny
        folder, pairs, out = save(self.family, self.folder / "model"), self.folder / "pairs.jsonl", self.folder / "out"
        write_pairs(pairs, [
            Pair(p.id, str(p.images[0].path), p.text, "There is a dog.", f"There is a car {i}.")
            for i, p in enumerate(self.prompts)
        ])  # fmt: skip
        settings = {"batch_size": 1, "max_steps": 2, "lora": False, "gradient_checkpointing": False}
        align_ddpo(folder, pairs, out, "dpo", settings)
        (response,) = TransformersEngine(out).generate(self.prompts[:1], GREEDY)
        assert response.token_ids

    def _sized(self, size: int) -> TransformersEngine:
        self.engine.batch_size = size
        return self.engine

    def _said(self, size: int) -> dict[str, tuple[int, ...]]:
        return {r.prompt_id: r.token_ids or () for r in self._sized(size).generate(self.prompts, GREEDY)}


def row_of(family: str, prompts: Sequence[Prompt], folder: Path) -> str:
    """The family's row of the table, in Markdown."""
    checks = Checks(family, prompts, folder)
    return "| " + " | ".join([family, checks.prompt(), *(cell for _, cell in checks.cells())]) + " |"

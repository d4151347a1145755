"""Choosing among the checkpoints of a training run, on data that no benchmark is made of.

RLAIF-V's release chose its checkpoints on the test benchmarks it reports. Here the last iteration is taken, or the best
one on held-out prompts; a test benchmark can be used too, and the card then says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligners.feedback.candidates import Candidate
from aligners.feedback.instructions import Instruction
from aligners.feedback.labeling import image_questions, judge_questions, label
from aligners.feedback.splitting import Splitter
from evalkit.engines.base import Engine
from evalkit.errors import TrainingError
from evalkit.sampling import Sampling
from evalkit.text.thoughts import STANDARD


@dataclass(frozen=True, slots=True)
class Selection:
    """How checkpoints are compared.

    split          name of the data, for the card
    measure        checkpoint folder -> number, lower is better
    test           the data is a test benchmark: the card says "test benchmark"
    """

    split: str
    measure: Callable[[Path], float]
    test: bool = False

    def __str__(self) -> str:
        return f"test benchmark: {self.split}" if self.test else self.split


def held_out(
    instructions: Sequence[Instruction],
    labeler: Engine,
    splitter: Splitter,
    open_engine: Callable[[Path], Engine],
    split: str = "held-out prompts",
    max_new_tokens: int = 512,
) -> Selection:
    """Refuted minus confirmed claims of a greedy response, mean over prompts, by a labeler that stays the same."""

    def measure(checkpoint: Path) -> float:
        engine = open_engine(checkpoint)
        try:
            prompts = [instruction.ask() for instruction in instructions]
            outputs = engine.generate(prompts, Sampling(max_new_tokens=max_new_tokens))
            responses = {r.prompt_id: STANDARD.take_off(r.text).answer for r in outputs if r.text is not None}
        finally:
            engine.close()
        candidates = [
            Candidate(row.id, row.id, row.image, row.prompt, text, 0)
            for row in instructions
            if (text := responses.get(row.id)) is not None
        ]
        by_id = {row.id: row for row in instructions}
        divided = {entry.candidate_id: entry for entry in splitter.split(candidates)}
        questions = image_questions(candidates, divided)
        rows = judge_questions(labeler, questions, lambda q, text: by_id[q.prompt_id].ask(text, q.id))
        judged = label(candidates, divided, {row["id"]: row for row in rows}, tie_confirms=False)
        scores = [score for entry in judged if (score := entry.score(confirmed_weight=1.0)) is not None]
        if not scores:
            raise TrainingError(f"{checkpoint}: no response to the {split} makes a claim, so it cannot be compared")
        return -sum(scores) / len(scores)

    return Selection(split, measure)


def best_iteration(rows: Sequence[Mapping[str, Any]]) -> int:
    """The iteration with the lowest selection value, the later of equals; the last one if nothing was measured."""
    if any(row.get("selection") is None for row in rows):
        return int(rows[-1]["iteration"])
    return int(min(reversed(rows), key=lambda row: row["selection"])["iteration"])

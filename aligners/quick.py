"""A benchmark on a few items while a model trains: hallucination against steps, before the run is over.

The items are the first ones of the benchmark and are few, so the numbers are rough; they stand in training.jsonl as
quick_chair_s, quick_recall, ... and are no score. Each measurement is an ordinary run in `training/quick/step-N`, which
the dashboard opens. Greedy answers draw no random number: training is the same with and without.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligners.training.evaluation import Probe
from evalkit.benchmark import Benchmark, Judged
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import UsageError
from evalkit.harness.stages import evaluate

FOLDER = Path("training") / "quick"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickEvaluation:
    """What is asked, and how often.

    benchmark   one that needs no judge
    limit       its first items
    steps       optimiser steps between two measurements; None: at every training checkpoint
    batch_size  prompts in a forward pass
    """

    benchmark: Benchmark
    limit: int = 50
    steps: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.benchmark, Judged):
            raise UsageError(f"{self.benchmark.name} needs a judge: a quick evaluation is of a benchmark without one")
        if self.benchmark.sampling.temperature > 0:
            raise UsageError(f"{self.benchmark.name} samples, which would change what training draws")

    def probe(self, processor: Any, out: Path, chat_template: str | None = None) -> Probe:
        """The measurement for the run of a training folder."""

        def measure(model: Any, step: int) -> dict[str, float]:
            folder = out / FOLDER / f"step-{step}" / self.benchmark.name
            shutil.rmtree(folder, ignore_errors=True)  # of a step that a killed run had taken already
            engine = TransformersEngine.from_live(
                model, processor, name=f"step {step}", batch_size=self.batch_size, chat_template=chat_template
            )
            summary = evaluate(self.benchmark, engine, folder, limit=self.limit, label=f"step {step}")
            return {name: interval.value for name, interval in summary.metrics.items() if interval.value is not None}

        return Probe(measure=measure, steps=self.steps)

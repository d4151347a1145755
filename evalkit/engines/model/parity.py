"""Parity: does batched generation write what batch size 1 writes?

Greedy responses of the first prompts are compared id by id. In floating point a batch changes sums in the last bits, so
a response may differ where two tokens are as good as equally likely; such a difference is explained by the gap between
both tokens' logits at the first differing position, computed alone. Anything else is a defect of the engine or model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.errors import EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

if TYPE_CHECKING:
    from evalkit.engines.transformers import TransformersEngine

# Largest gap of two logits that is taken for a tie: a few times the rounding of a logit of magnitude 20 or so.
TIE = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


@dataclass(frozen=True, slots=True)
class Difference:
    """A prompt whose batched response is not that of batch size 1.

    position  index of the first differing token
    gap       logit of the token written alone minus that of the token written in the batch, None for a failure
    tie       whether the gap is within the rounding of the model's dtype
    """

    prompt_id: str
    batch_size: int
    alone: str
    batched: str
    position: int | None
    gap: float | None
    tie: bool


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Outcome of `check_parity`."""

    checked: int
    batch_sizes: tuple[int, ...]
    dtype: str
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> bool:
        """No response differs."""
        return not self.differences

    @property
    def explained(self) -> bool:
        """Every difference is a numeric tie."""
        return all(difference.tie for difference in self.differences)

    def lines(self) -> list[str]:
        """The report as text: one line of summary, one per difference."""
        sizes = ", ".join(map(str, self.batch_sizes))
        state = "identical" if self.identical else f"{len(self.differences)} differ"
        lines = [f"parity: {self.checked} prompts, greedy {self.dtype}, batch {sizes} against batch 1: {state}"]
        for d in self.differences:
            where = "failed" if d.gap is None else f"token {d.position}, gap {d.gap:.2g}" + (" (tie)" if d.tie else "")
            lines.append(f"  {d.prompt_id} batch {d.batch_size}: {where}: {d.alone[:60]!r} != {d.batched[:60]!r}")
        return lines

    def as_dict(self) -> dict[str, Json]:
        """For the run's manifest."""
        return {
            "checked": self.checked,
            "batch_sizes": list(self.batch_sizes),
            "dtype": self.dtype,
            "differing": [{"id": d.prompt_id, "batch": d.batch_size, "gap": d.gap} for d in self.differences],
        }


def check_parity(
    engine: "TransformersEngine",
    prompts: Sequence[Prompt],
    n: int,
    batch_sizes: Sequence[int] = (8, 32),
    max_new_tokens: int = 64,
) -> ParityReport:
    """Compare greedy responses to the first n prompts at several batch sizes with those of batch size 1.

    Exact equality is to be expected in float32; load the engine so.

    Raises:
        EngineError: if there is nothing to compare.
    """
    chosen = list(prompts[:n])
    if not chosen or not batch_sizes:
        raise EngineError("parity needs at least one prompt and one batch size")
    sampling = Sampling(max_new_tokens=max_new_tokens)
    dtype = str(engine.describe()["dtype"])
    with _batch_size(engine, 1):
        alone = {response.prompt_id: response for response in engine.generate(chosen, sampling)}
    differences = []
    for size in batch_sizes:
        with _batch_size(engine, size):
            batched = {response.prompt_id: response for response in engine.generate(chosen, sampling)}
        for prompt in chosen:
            if batched[prompt.id] != alone[prompt.id]:
                differences.append(_difference(engine, prompt, size, alone[prompt.id], batched[prompt.id], dtype))
    return ParityReport(len(chosen), tuple(batch_sizes), dtype, tuple(differences))


def _difference(
    engine: "TransformersEngine", prompt: Prompt, size: int, alone: Response, batched: Response, dtype: str
) -> Difference:
    texts = (alone.text or f"[{alone.failure}]", batched.text or f"[{batched.failure}]")
    if alone.token_ids is None or batched.token_ids is None:
        return Difference(prompt.id, size, *texts, position=None, gap=None, tie=False)
    end = (min(engine.end_ids, default=0),)
    first, second = alone.token_ids + end, batched.token_ids + end
    position = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    with _batch_size(engine, 1):
        one, other = engine.logprobs([prompt, prompt], [first[: position + 1], second[: position + 1]])
    gap = one.logprobs[-1] - other.logprobs[-1]
    return Difference(prompt.id, size, *texts, position=position, gap=gap, tie=abs(gap) <= TIE.get(dtype, 0.0))


@contextmanager
def _batch_size(engine: "TransformersEngine", size: int) -> Iterator[None]:
    before, engine.batch_size = engine.batch_size, size
    try:
        yield
    finally:
        engine.batch_size = before

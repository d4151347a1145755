"""Choice of the next token, such that a response depends on its own seed and on nothing else in the batch.

Every row has a generator of its own, which draws one uniform number per step before decoding starts. The token is the
inverse of the cumulative distribution at that number, after temperature and nucleus filtering. So the same
(seed, prompt, sample) gives the same text at any batch size, in any order, on any shard and on any device, up to float
noise in the probabilities.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evalkit.sampling import Sampling


class TokenChooser:
    """Logits processor: suppresses placeholder tokens and, when sampling, leaves the drawn token as the only one.

    Args:
        suppressed: ids that must never be written.
        sampling: temperature, top_k, top_p, repetition penalty.
        seeds: seed of each row; empty for greedy decoding and beam search.
        prompt_width: columns of the padded prompt ids; the step is what lies beyond.
        begins: first real token of each prompt, for the repetition penalty; each prompt has the same number of rows.
    """

    def __init__(
        self,
        suppressed: Sequence[int],
        sampling: Sampling,
        seeds: Sequence[int],
        prompt_width: int = 0,
        begins: Sequence[int] = (),
    ) -> None:
        self.suppressed = torch.tensor(list(suppressed), dtype=torch.long)
        self.temperature, self.top_p, self.top_k = sampling.temperature, sampling.top_p, sampling.top_k
        self.penalty, self.begins = sampling.repetition_penalty, torch.tensor(list(begins), dtype=torch.long)
        self.prompt_width = prompt_width
        self.uniforms = uniforms(seeds, sampling.max_new_tokens) if sampling.temperature > 0 else None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) -> scores (B, V)."""
        if self.penalty != 1:
            scores = self._penalised(input_ids, scores)
        if self.uniforms is None:
            return self._allowed(scores)
        chosen = self.choose(input_ids.shape[1] - self.prompt_width, scores)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen[:, None], 0.0)

    def choose(self, step: int, scores: Tensor, rows: Tensor | None = None) -> Tensor:
        """Token ids (B,) for scores (B, V), `step` tokens after the prompt; no repetition penalty.

        `rows` says which rows these are if they are not all.
        """
        scores = self._allowed(scores)
        if self.uniforms is None:
            return scores.argmax(-1)
        self.uniforms = self.uniforms.to(scores.device, precision(scores))  # once: a copy per step is a wait per step
        uniform = self.uniforms[:, step] if rows is None else self.uniforms[rows.to(scores.device), step]
        return draw(scores, uniform, self.temperature, self.top_p, self.top_k)

    def _allowed(self, scores: Tensor) -> Tensor:
        if not len(self.suppressed):
            return scores
        self.suppressed = self.suppressed.to(scores.device)
        return scores.index_fill(1, self.suppressed, float("-inf"))

    def _penalised(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with the penalty on every token that a row holds; its padding is not among them."""
        rows, width = input_ids.shape
        begins = self.begins.to(input_ids.device).repeat_interleave(rows // max(1, len(self.begins)))
        real = torch.arange(width, device=input_ids.device) >= begins[:, None] if len(begins) else None
        held = torch.zeros_like(scores, dtype=torch.int32)
        ones = torch.ones_like(input_ids, dtype=torch.int32) if real is None else real.to(torch.int32)
        held = held.scatter_add(1, input_ids, ones) > 0
        penalised = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return torch.where(held, penalised, scores)


def uniforms(seeds: Sequence[int], steps: int) -> Tensor:
    """One uniform number in [0, 1) per row and step, float64 (len(seeds), steps), each row from its own seed."""
    rows = [torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def draw(scores: Tensor, uniform: Tensor, temperature: float, top_p: float, top_k: int = 0) -> Tensor:
    """Token ids (B,) drawn from softmax(scores / temperature) restricted to the top_k most likely, then to its nucleus.

    The nucleus is the smallest set of most likely tokens whose mass reaches top_p (Holtzman et al. 2020,
    arXiv:1904.09751); equal probabilities count in order of their id.

    Args:
        scores: logits, (B, V).
        uniform: numbers in [0, 1), float64 (B,).
        temperature: above 0.
        top_p: in (0, 1].
        top_k: 0 keeps all.
    """
    probabilities = (scores.to(precision(scores)) / temperature).softmax(-1)
    if top_p < 1 or top_k:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        if top_k:
            ordered[:, top_k:] = 0.0
            ordered = ordered / ordered.sum(-1, keepdim=True)
        mass_before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(mass_before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered)
    cumulated = probabilities.cumsum(-1)
    total = cumulated[:, -1]
    target = torch.minimum(uniform.to(total.dtype) * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, target[:, None], right=True)[:, 0]


def precision(scores: Tensor) -> torch.dtype:
    """Number format of the draw: float64 where the device has it."""
    return torch.float32 if scores.device.type == "mps" else torch.float64

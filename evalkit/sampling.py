"""How an engine decodes."""

import hashlib
import math
from dataclasses import asdict, dataclass

from evalkit.errors import UsageError

_OFF = {"top_k": 0, "repetition_penalty": 1.0}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding settings, the same words for every engine.

    temperature     0 is greedy
    top_p           nucleus mass, 1 keeps everything
    max_new_tokens  limit of a response, in tokens
    n               responses per prompt
    seed            base seed; every (prompt, sample) gets its own from it, see `seed_for`
    num_beams       beam search width, 1 is none (greedy only)
    top_k           most likely tokens kept before the nucleus, 0 keeps everything (sampling only)
    repetition_penalty  divides positive logits and multiplies negative ones of tokens that the prompt or the response
                    holds already (Keskar et al. 2019, arXiv:1909.05858); 1 is none
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    n: int = 1
    seed: int = 0
    num_beams: int = 1
    top_k: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1:
            raise UsageError(f"temperature must be >= 0 and top_p in (0, 1]; got {self.temperature}, {self.top_p}")
        if min(self.max_new_tokens, self.n, self.num_beams) < 1:
            raise UsageError(
                "max_new_tokens, n and num_beams must be at least 1; "
                f"got {self.max_new_tokens}, {self.n}, {self.num_beams}"
            )
        if self.num_beams > 1 and self.temperature > 0:
            raise UsageError("beam search is deterministic: use temperature 0 with num_beams > 1")
        if self.top_k < 0 or not 0 < self.repetition_penalty < math.inf:
            raise UsageError(
                f"top_k must be >= 0 and repetition_penalty > 0; got {self.top_k}, {self.repetition_penalty}"
            )
        if self.top_k and self.temperature == 0:
            raise UsageError("top_k is for sampling: use a temperature above 0 with it")

    def seed_for(self, prompt_id: str, sample: int) -> int:
        """Seed of one response, below 2**31; independent of batch, order and shard."""
        digest = hashlib.sha256(f"{self.seed}\x00{prompt_id}\x00{sample}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def as_dict(self) -> dict[str, float | int]:
        """Settings as JSON, for the manifest; later ones only where they are in use, so that old runs stay equal."""
        unused = {name for name, value in _OFF.items() if getattr(self, name) == value}
        return {name: value for name, value in asdict(self).items() if name not in unused}

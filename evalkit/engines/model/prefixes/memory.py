"""How many rows may be read at once, such that questions about shared images take no more memory than whole prompts.

A batch of whole prompts holds keys and values of all its tokens in every layer, and works on all of them in one layer
at a time. Rows that share prefixes hold each prefix once and work on their tails alone, so that many more of them fit
into the same memory. How many is counted here in numbers per token; what a tower takes for the images is the same.
"""

from dataclasses import dataclass
from typing import Any

from evalkit.engines.model.prefixes.row_cache import Layers

RESIDUAL = 4  # hidden states of a layer at one time: before it, normed, its output, their sum
INNER = 3  # of the MLP: gate, up, their product


@dataclass(frozen=True, slots=True)
class Footprint:
    """Numbers held per token.

    cached    keys and values, all layers
    gathered  keys and values of one layer as its attention reads them, for each column of a row
    worked    while a layer works on a token
    logits    of a token
    """

    cached: int
    gathered: int
    worked: int
    logits: int

    def rows(self, sequences: int, prefixes: int, width: int, tail: int, kept: int, new: int) -> int:
        """Rows that fit into the memory of so many whole prompts; at least 1.

        Args:
            sequences: whole prompts in a batch.
            prefixes: tokens of all prefixes that are held.
            width: tokens of the longest prompt.
            tail: most tokens that a row has after its prefix.
            kept: columns of logits of each row.
            new: most tokens that follow a prompt.
        """
        whole, row = self._whole(width, kept, new), self._row(width, tail, kept, new)
        return max(1, (sequences * whole - prefixes * self.cached) // row)

    def apart(self, sequences: int, pooled: int, width: int, new: int) -> int:
        """Rows that may have all their keys and values to themselves beside a pool of so many tokens."""
        free = sequences * self._whole(width, 1, new) - pooled * self.cached
        return max(0, free // ((width + new) * (self.cached + self.gathered) + self.logits))

    def _whole(self, width: int, kept: int, new: int) -> int:
        return self._row(width, width, kept, new)

    def _row(self, width: int, own: int, kept: int, new: int) -> int:
        """Numbers that a row needs besides its prefix, of which it has `own` tokens of `width` to itself."""
        return (
            own * (self.cached + self.worked)
            + width * self.gathered
            + new * (self.cached + self.gathered)
            + kept * self.logits
        )


def footprint(model: Any, layers: Layers) -> Footprint:
    """The footprint of a model's text part, given keys and values that it has made."""
    text = model.config.get_text_config()
    cached = sum(part.shape[1] * part.shape[3] for pair in layers for part in pair)
    hidden = text.hidden_size
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    repeated = 2 * hidden  # where several heads share keys and values, attention may spread them out
    gathered = cached // len(layers) + repeated
    return Footprint(cached, gathered, RESIDUAL * hidden + INNER * inner, text.vocab_size)

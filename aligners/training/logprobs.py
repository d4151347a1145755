"""Log-probabilities of given tokens, without a float copy of all logits.

A 32-bit (B, T, V) tensor is what fills the memory of preference training: 16 x 2048 positions x 150k entries are 20 GB.
So: only positions with a target go through the language-model head (prompt and image positions never do), in chunks of
`chunk_tokens` positions; with more than one chunk the logits are not kept for the backward pass but computed again
(one chunk at a time is alive). Result and gradients equal the plain form up to rounding. `chunk_tokens_for` gives the
chunk size for a vocabulary: small vocabularies need one chunk and pay nothing.

Convention: `labels` (B, T) holds token ids where a token is wanted and IGNORE elsewhere; logits at position t
tell of the token at t + 1, so everything returned has T - 1 columns and column t belongs to token t + 1.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

IGNORE = -100  # label of a position that has none, as in torch and transformers
MAX_LOGITS = 2**25  # logits alive at a time: 134 MB in float32

Head = Callable[[Tensor], Tensor]  # (N, D) hidden states -> (N, V) logits


def chunk_tokens_for(vocab_size: int, max_logits: int = MAX_LOGITS) -> int:
    """Positions per chunk so that a chunk has at most `max_logits` logits (at least one position)."""
    return max(1, max_logits // vocab_size)


def gather_logps(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each target under the logits of its own position (nothing is shifted).

    Args:
        logits: unnormalised log-probabilities, (..., V); half precision is computed in float32.
        targets: token ids, (...); IGNORE gives 0.
        temperature: divides the logits first, as in sampling.
    Returns:
        nats, shape (...).
    """
    wide = _at_least_float32(logits) / temperature if temperature != 1.0 else _at_least_float32(logits)
    labelled = targets != IGNORE
    picked = wide.gather(-1, targets.where(labelled, 0).unsqueeze(-1)).squeeze(-1)
    return (picked - wide.logsumexp(-1)).where(labelled, 0.0)


def token_logps(
    logits: Tensor, labels: Tensor, *, temperature: float = 1.0, chunk_tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Shifted log-probabilities from logits that already exist, computed in float32 chunk by chunk.

    Args:
        logits: (B, T, V), any float type.
        labels: (B, T); see the module's convention.
        temperature: divides the logits first.
        chunk_tokens: positions whose float32 logits are alive at a time; None: `chunk_tokens_for` the vocabulary.
    Returns:
        (token_logps, response_mask): nats (B, T - 1), 0 where a token has no label, and bool (B, T - 1).
    """
    size = chunk_tokens_for(logits.shape[-1]) if chunk_tokens is None else chunk_tokens
    return hidden_token_logps(logits, _identity, labels, chunk_tokens=size, temperature=temperature)


def hidden_token_logps(
    hidden: Tensor,
    head: Head,
    labels: Tensor,
    *,
    chunk_tokens: int,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Shifted log-probabilities from the last hidden states: the head runs on labelled positions only.

    Args:
        hidden: last hidden states after the final norm, (B, T, D).
        head: maps (N, D) to logits (N, V): the model's `lm_head`, adapters and soft-capping included.
        labels: (B, T); see the module's convention.
        chunk_tokens: positions whose logits are alive at a time, see `chunk_tokens_for`; more than one chunk costs a
            second head product in the backward pass.
        temperature: divides the logits first.
    Returns:
        (token_logps, response_mask): nats (B, T - 1), 0 where a token has no label, and bool (B, T - 1).
    Raises:
        ValueError: if hidden states and labels do not have the same (B, T), or chunk_tokens < 1.
    """
    if hidden.shape[:2] != labels.shape or chunk_tokens < 1:
        raise ValueError(
            f"hidden (B, T, D) {tuple(hidden.shape)} and labels (B, T) {tuple(labels.shape)} must agree, "
            f"chunk_tokens be positive, got {chunk_tokens}"
        )
    targets = labels[:, 1:]
    response_mask = targets != IGNORE
    states = hidden[:, :-1][response_mask]  # (N, D)
    wanted = targets[response_mask]  # (N,)
    if len(wanted) <= chunk_tokens:
        logps = gather_logps(head(states), wanted, temperature)
    else:
        chunks = zip(torch.split(states, chunk_tokens), torch.split(wanted, chunk_tokens), strict=True)
        logps = torch.cat([_recomputed(head, h, t, temperature) for h, t in chunks])
    padded = logps.new_zeros(response_mask.shape).masked_scatter(response_mask, logps)
    return padded, response_mask


def spread_rows(rows: Sequence[Sequence[float]], response_mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Put one number per response token (token weights, stored reference log-probabilities) at the tokens' columns.

    Args:
        rows: per response, as many numbers as it has tokens.
        response_mask: as returned by `hidden_token_logps`, bool (B, T - 1).
        dtype: of the result.
    Returns:
        (B, T - 1), 0 where no token has a label.
    Raises:
        ValueError: if a row has another length than its mask: stored under another template, or truncated since.
    """
    lengths, expected = [len(row) for row in rows], response_mask.sum(-1).tolist()
    if lengths != expected:
        raise ValueError(f"numbers per response {lengths} do not match the responses' tokens {expected}")
    flat = torch.tensor([value for row in rows for value in row], dtype=dtype, device=response_mask.device)
    return torch.zeros(response_mask.shape, dtype=dtype, device=response_mask.device).masked_scatter(
        response_mask, flat
    )


def entropies(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of the next-token distribution in nats, (..., V) -> (...)."""
    logps = (_at_least_float32(logits) / temperature).log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)


def _recomputed(head: Head, states: Tensor, targets: Tensor, temperature: float) -> Tensor:
    def entropies_of(chunk: Tensor) -> Tensor:
        return gather_logps(head(chunk), targets, temperature)

    if not torch.is_grad_enabled():
        return entropies_of(states)
    result: Tensor = checkpoint(entropies_of, states, use_reentrant=False)
    return result


def _identity(logits: Tensor) -> Tensor:
    return logits


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()

"""Chunked log-probabilities equal the plain form, and never hold all logits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aligners.training.logprobs import (
    IGNORE,
    chunk_tokens_for,
    entropies,
    gather_logps,
    hidden_token_logps,
    spread_rows,
    token_logps,
)

B, T, D, V = 3, 17, 8, 50


def batch(seed: int = 0) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(seed)
    hidden = torch.randn(B, T, D, dtype=torch.float64)
    head = nn.Linear(D, V, dtype=torch.float64)
    labels = torch.randint(0, V, (B, T))
    labels[:, :5] = IGNORE  # prompts
    labels[1, 12:] = IGNORE  # padding
    labels[2, 7] = IGNORE  # a hole
    return hidden, head, labels


def plain(hidden: torch.Tensor, head: nn.Module, labels: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    logps = (head(hidden)[:, :-1] / temperature).log_softmax(-1)
    targets = labels[:, 1:]
    picked = logps.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return picked.masked_fill(targets == IGNORE, 0.0)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 7, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_equal_the_plain_form(chunk_tokens, temperature):
    hidden, head, labels = batch()
    loss_weights = torch.randn(B, T - 1, dtype=torch.float64)
    results = []
    for compute in (
        lambda h: plain(h, head, labels, temperature),
        lambda h: hidden_token_logps(h, head, labels, temperature=temperature, chunk_tokens=chunk_tokens)[0],
        lambda h: token_logps(head(h), labels, temperature=temperature, chunk_tokens=chunk_tokens)[0],
    ):
        head.zero_grad()
        leaf = hidden.clone().requires_grad_()
        logps = compute(leaf)
        (logps * loss_weights).sum().backward()
        results.append([logps.detach(), leaf.grad, head.weight.grad.clone(), head.bias.grad.clone()])
    for other in results[1:]:
        for expected, actual in zip(results[0], other, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)


def test_the_mask_marks_tokens_with_a_label():
    hidden, head, labels = batch()
    logps, mask = hidden_token_logps(hidden, head, labels, chunk_tokens=9)
    assert torch.equal(mask, labels[:, 1:] != IGNORE)
    assert torch.equal(logps != 0, mask)


def test_the_head_sees_only_scored_positions_and_one_chunk_at_a_time():
    hidden, head, labels = batch()
    rows: list[int] = []

    def counting(states: torch.Tensor) -> torch.Tensor:
        rows.append(len(states))
        return head(states)

    logps, mask = hidden_token_logps(hidden.requires_grad_(), counting, labels, chunk_tokens=4)
    assert max(rows) == 4
    assert sum(rows) == int(mask.sum()) < B * (T - 1)
    logps.sum().backward()
    assert max(rows) == 4
    assert sum(rows) == 2 * int(mask.sum())  # computed again, not stored


def test_no_logits_are_kept_for_the_backward_pass():
    hidden, head, labels = batch()
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() if tensor.shape[-1:] == (V,) else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        hidden_token_logps(hidden.requires_grad_(), head, labels, chunk_tokens=4)
        chunked, _ = max(kept, default=0), kept.clear()
        hidden_token_logps(hidden, head, labels, chunk_tokens=1000)
    assert chunked <= V * D  # the head's own weight at most
    assert max(kept) > V * D


def test_dropout_in_the_head_is_the_same_when_computed_again():
    hidden, head, labels = batch()
    dropout = nn.Dropout(0.5)
    seen: list[torch.Tensor] = []

    def noisy(states: torch.Tensor) -> torch.Tensor:
        seen.append(dropout(states))
        return head(seen[-1])

    logps, mask = hidden_token_logps(hidden.requires_grad_(), noisy, labels, chunk_tokens=4)
    first = torch.cat([states.detach() for states in seen])
    seen.clear()
    logps.sum().backward()
    again = torch.cat([states.detach() for states in seen])  # chunks in reverse order
    assert len(first) == int(mask.sum())
    torch.testing.assert_close(sorted(again.flatten().tolist()), sorted(first.flatten().tolist()), atol=0, rtol=0)


def test_half_precision_logits_are_summed_in_float32():
    torch.manual_seed(0)
    logits = (torch.randn(2, 6, 4000) * 3).bfloat16()
    labels = torch.randint(0, 4000, (2, 6))
    logps, _ = token_logps(logits, labels, chunk_tokens=3)
    assert logps.dtype is torch.float32
    expected = -F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    torch.testing.assert_close(logps.flatten(), expected, atol=1e-5, rtol=0)


def test_padding_and_other_rows_change_nothing():
    hidden, head, labels = batch()
    alone, _ = hidden_token_logps(hidden[1:2], head, labels[1:2], chunk_tokens=9)
    together, _ = hidden_token_logps(hidden, head, labels, chunk_tokens=9)
    torch.testing.assert_close(together[1:2], alone, atol=1e-12, rtol=0)
    longer = F.pad(hidden, (0, 0, 0, 3), value=9.0), F.pad(labels, (0, 3), value=IGNORE)
    padded, mask = hidden_token_logps(longer[0], head, longer[1], chunk_tokens=9)
    torch.testing.assert_close(padded[:, : T - 1], together, atol=1e-12, rtol=0)
    assert not mask[:, T - 1 :].any()


def test_a_batch_without_any_label_gives_zeros():
    hidden, head, labels = batch()
    logps, mask = hidden_token_logps(hidden, head, labels.fill_(IGNORE), chunk_tokens=9)
    assert not logps.any()
    assert not mask.any()


def test_without_gradients_nothing_is_checkpointed():
    hidden, head, labels = batch()
    with torch.no_grad():
        logps, _ = hidden_token_logps(hidden, head, labels, chunk_tokens=4)
    torch.testing.assert_close(logps, plain(hidden, head, labels).detach())


def test_shapes_must_agree():
    hidden, head, labels = batch()
    with pytest.raises(ValueError, match="must agree"):
        hidden_token_logps(hidden[:, :-1], head, labels, chunk_tokens=9)
    with pytest.raises(ValueError, match="chunk_tokens"):
        hidden_token_logps(hidden, head, labels, chunk_tokens=0)


@pytest.mark.parametrize(("vocab_size", "tokens"), [(150_000, 223), (512, 65_536), (10**9, 1)])
def test_chunks_shrink_as_the_vocabulary_grows(vocab_size, tokens):
    assert chunk_tokens_for(vocab_size) == tokens


def test_numbers_per_token_are_spread_over_the_columns_of_their_tokens():
    mask = torch.tensor([[False, True, True, False], [True, False, True, True]])
    spread = spread_rows([[5.0, 1.0], [2.0, 3.0, 4.0]], mask)
    assert spread.tolist() == [[0.0, 5.0, 1.0, 0.0], [2.0, 0.0, 3.0, 4.0]]


@pytest.mark.parametrize("rows", [[[1.0], [1.0, 2.0]], [[1.0, 2.0, 3.0], []], [[1.0, 2.0]]])
def test_numbers_of_another_length_than_the_response_are_refused(rows):
    mask = torch.tensor([[True, True], [False, True]])
    with pytest.raises(ValueError, match="do not match"):
        spread_rows(rows, mask)


def test_entropy_of_known_distributions():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(entropies(logits), torch.tensor([4.0, 1.0]).log(), atol=1e-6, rtol=0)


def test_unshifted_logps_ignore_marked_targets():
    logits = torch.zeros(1, 2, 4)
    logps = gather_logps(logits, torch.tensor([[3, IGNORE]]))
    torch.testing.assert_close(logps, torch.tensor([[-torch.log(torch.tensor(4.0)), 0.0]]))

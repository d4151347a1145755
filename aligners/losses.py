"""Preference losses: DPO, dense DPO, the implicit reward, and the reward model's pairwise loss.

DPO        Rafailov et al. 2023, arXiv:2305.18290, eq. 7: -log sigmoid(beta [(w - w_ref) - (l - l_ref)])
dense DPO  RLHF-V (Yu et al. 2024, arXiv:2312.00849), eq. 2-5: the same with token-weighted log-probabilities
implicit   r(y) = beta log pi(y) / pi_ref(y); RLAIF-V (arXiv:2405.17220) divides it by the length for best-of-N
confident  cDPO (Mitchell 2023, "A note on DPO with noisy preferences"): both orders of a pair, weighed by probability
pairwise   LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525)

Tensors in, tensors out; nothing here knows a model, a batch layout or a trainer. All log-probabilities are in nats.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F


def sequence_logps(
    token_logps: Tensor, response_mask: Tensor, weights: Tensor | None = None, *, average: bool
) -> Tensor:
    """Log-probability of each response, every token counting as often as its weight says.

    With weights and `average` this is RLHF-V's dense score, sum(w_t log p_t) / sum(w_t); without `average` the released
    command's form, sum(w_t log p_t). Without weights: the mean or sum of plain DPO.

    Args:
        token_logps: log p(y_t | x, y_<t), nats, (B, T).
        response_mask: True on response tokens, bool (B, T); values elsewhere are never read.
        weights: 1 for an unchanged token, gamma for a changed one, (B, T); None: all 1.
        average: divide by the weight mass of the response.
    Returns:
        nats, (B,).
    Raises:
        ValueError: if the shapes differ or a row has no response token.
    """
    _check_rows(token_logps, response_mask, weights)
    mass = torch.ones_like(token_logps) if weights is None else weights.to(token_logps.dtype)
    mass = mass.where(response_mask, 0.0)
    total = (token_logps.where(response_mask, 0.0) * mass).sum(-1)
    return total / mass.sum(-1) if average else total


def _check_rows(token_logps: Tensor, response_mask: Tensor, weights: Tensor | None = None) -> None:
    if token_logps.shape != response_mask.shape or (weights is not None and weights.shape != token_logps.shape):
        raise ValueError(
            f"shapes differ: token_logps {tuple(token_logps.shape)}, response_mask {tuple(response_mask.shape)}, "
            f"weights {None if weights is None else tuple(weights.shape)}"
        )
    if not bool(response_mask.any(-1).all()):
        raise ValueError("a row has no response token: was it truncated away, or its label mask lost?")


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """DPO loss and implicit rewards of a batch of pairs; every field is (B,)."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor

    @property
    def margins(self) -> Tensor:
        """Chosen minus rejected reward, (B,)."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def accuracies(self) -> Tensor:
        """1 where the chosen response earns strictly more, else 0, (B,)."""
        return (self.chosen_rewards > self.rejected_rewards).to(self.losses.dtype)


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float,
    confidence: Tensor | None = None,
) -> PreferenceLoss:
    """Direct preference optimisation (arXiv:2305.18290 eq. 7); policy = reference gives log 2.

    With confidences c the loss of a pair is -c log sigmoid(margin) - (1 - c) log sigmoid(-margin), cDPO with a rate of
    wrong labels for each pair instead of one for all: 1 is DPO, one half pulls towards no preference.

    Args:
        policy_chosen_logps: sequence log-probabilities (see `sequence_logps`), nats, (B,); so are the other three.
        policy_rejected_logps: (B,).
        reference_chosen_logps: (B,), no gradient.
        reference_rejected_logps: (B,), no gradient.
        beta: inverse temperature of the implicit reward; rewards are beta * (policy - reference), detached.
        confidence: probability that the label is right, fraction, (B,); None: 1.
    """
    chosen = beta * (policy_chosen_logps - reference_chosen_logps)
    rejected = beta * (policy_rejected_logps - reference_rejected_logps)
    losses = -F.logsigmoid(chosen - rejected)
    if confidence is not None:
        losses = confidence * losses - (1 - confidence) * F.logsigmoid(rejected - chosen)
    return PreferenceLoss(losses, chosen.detach(), rejected.detach())


def with_nll(losses: Tensor, chosen_logps: Tensor, nll_weight: float) -> Tensor:
    """Mean preference loss plus `nll_weight` times the negative log-likelihood of the chosen responses, a scalar.

    RLHF-V's trainer has this term with weight 0 and takes `chosen_logps` in the form of its DPO term; the mean form
    (nats per token) keeps the weight independent of length.

    Args:
        losses: (B,).
        chosen_logps: policy log-probabilities of the chosen responses, nats, (B,).
        nll_weight: 0 leaves the preference loss alone.
    """
    loss = losses.mean()
    return loss - nll_weight * chosen_logps.mean() if nll_weight else loss


class RewardForm(StrEnum):
    """How token log-ratios d_t = log pi(y_t) - log pi_ref(y_t) make one reward.

    SUM               beta * sum d_t, DPO's own; prefers short responses
    MEAN              beta / T * sum d_t, RLAIF-V's best-of-N
    DATA_ENGINE_MEAN  MEAN times 0.1: RLAIF-V's data engine multiplies by its beta of 0.1 twice
    MIN, LAST         beta * min d_t and beta * d_T, the data engine's process- and outcome-reward forms
    """

    SUM = "sum"
    MEAN = "mean"
    DATA_ENGINE_MEAN = "data-engine-mean"
    MIN = "min"
    LAST = "last"


def implicit_rewards(
    policy_token_logps: Tensor,
    reference_token_logps: Tensor,
    response_mask: Tensor,
    beta: float,
    form: RewardForm = RewardForm.MEAN,
) -> Tensor:
    """Reward a DPO-trained model assigns to responses, for best-of-N and for building pairs.

    Args:
        policy_token_logps: of the aligned model, nats, (B, T).
        reference_token_logps: of the model it was trained from, nats, (B, T).
        response_mask: bool (B, T).
        beta: 0.1 in RLAIF-V.
        form: see `RewardForm`.
    Returns:
        (B,).
    Raises:
        ValueError: as `sequence_logps`.
    """
    ratios = policy_token_logps - reference_token_logps
    _check_rows(ratios, response_mask)
    if form is RewardForm.SUM:
        return beta * sequence_logps(ratios, response_mask, average=False)
    if form in (RewardForm.MEAN, RewardForm.DATA_ENGINE_MEAN):
        scale = 0.1 if form is RewardForm.DATA_ENGINE_MEAN else 1.0
        return beta * sequence_logps(ratios, response_mask, average=True) * scale
    if form is RewardForm.MIN:
        return beta * ratios.where(response_mask, torch.inf).amin(-1)
    positions = torch.arange(ratios.shape[-1], device=ratios.device)
    last = positions.where(response_mask, -1).amax(-1, keepdim=True)
    return beta * ratios.gather(-1, last).squeeze(-1)


@dataclass(frozen=True, slots=True)
class RewardModelLoss:
    """Scalars: `loss` = `pairwise` + weight * |mean(r_1 + r_2)|; `accuracy` in [0, 1]."""

    loss: Tensor
    pairwise: Tensor
    accuracy: Tensor


def reward_model_loss(rewards: Tensor, choice: Tensor, centre_weight: float = 1e-3) -> RewardModelLoss:
    """Pairwise loss of a reward model, with a small pull of the rewards towards zero.

    LLaVA-RLHF (arXiv:2309.14525) and its released code: binary cross-entropy on r_2 - r_1.

    Args:
        rewards: of the first and the second response, (B, 2).
        choice: 1 if the second response is preferred, else 0, (B,).
        centre_weight: 1e-3 in the released code; without it only differences are determined.
    """
    difference = rewards[:, 1] - rewards[:, 0]
    pairwise = F.binary_cross_entropy_with_logits(difference, choice.to(difference.dtype))
    centre = rewards.sum(-1).mean().abs()
    accuracy = ((difference >= 0) == choice.bool()).to(difference.dtype).mean()
    return RewardModelLoss(pairwise + centre_weight * centre, pairwise.detach(), accuracy.detach())

"""The models of PPO: policy, value model and frozen reference, sharing every weight that is not trained."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aligners.reward_model.model import last_hidden, reward_head
from aligners.rl.rollouts import RolloutBatch, batch_entropies, batch_logps, response_positions
from aligners.settings import FactRlhfSettings
from aligners.training.policy import make_trainable, wants_checkpointing, wants_lora
from aligners.training.response_logps import bare, pad_responses
from aligners.training.settings import ModelSettings


class ActorCritic(nn.Module):
    """Policy and value model; no value model for rloo."""

    def __init__(self, policy: Any, critic: Any | None, head: nn.Linear | None) -> None:
        super().__init__()
        self.policy, self.critic, self.head = policy, critic, head

    def forward(self, batch: RolloutBatch, temperature: float, entropy: bool = False) -> "Outputs":
        """Log-probabilities, values (zeros without a value model) and, if asked, entropies, each (b, L)."""
        hidden = last_hidden(self.policy, batch.inputs)
        logps = batch_logps(self.policy, batch, temperature, hidden)
        values = torch.zeros_like(logps)
        if self.head is not None:
            states = hidden if self.critic is None else last_hidden(self.critic, batch.inputs)
            estimates = self.head(response_positions(states, batch.labels).to(self.head.weight.dtype)).squeeze(-1)
            values = pad_responses(estimates, batch.lengths)[0].to(logps.device)
        return Outputs(logps, values, batch_entropies(self.policy, batch, temperature, hidden) if entropy else None)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the models say of each response token, (b, L), 0 behind the end."""

    logps: Tensor
    values: Tensor
    entropies: Tensor | None


def build_models(policy: Any, critic_source: Any, settings: FactRlhfSettings) -> tuple[ActorCritic, Any]:
    """(trainable policy and value model, frozen reference) from a start model and the reward model's backbone."""
    actor = make_trainable(policy, settings)
    reference = copy_sharing_frozen(actor).eval().requires_grad_(False)
    checkpointing = wants_checkpointing(actor, settings)
    critic, head = None, None
    if settings.advantage == "gae":
        critic = _critic(critic_source, settings) if settings.value_backbone == "own" else None
        core = bare(actor if critic is None else critic)
        head = value_head(core.config.get_text_config().hidden_size).to(core.device)
    for model in (actor, critic) if checkpointing else ():
        if model is not None:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return ActorCritic(actor, critic, head), reference


@contextmanager
def recomputing(models: ActorCritic) -> Iterator[None]:
    """Inside, layers whose activations are to be computed again do so: they look at the training mode for it.

    Dropout stays off all the same: old and new log-probabilities must come from one function.
    """
    cores = [bare(model) for model in (models.policy, models.critic) if model is not None]
    if not any(getattr(core, "is_gradient_checkpointing", False) for core in cores):
        yield
        return
    models.train()
    without_dropout(models)
    try:
        yield
    finally:
        models.eval()


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off in a model that is in training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if getattr(module, "attention_dropout", 0.0):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010


def _critic(source: Any, training: ModelSettings) -> Any:
    """The value model's backbone: the reward model's with its adapter, an adapter of its own, or a whole copy."""
    if hasattr(source, "get_base_model"):
        adapter = [parameter.requires_grad_() for name, parameter in source.named_parameters() if "lora_" in name]
        critic = copy_sharing_frozen(source)
        for parameter in adapter:
            parameter.requires_grad_(False)
        return critic
    if wants_lora(source, training):
        return make_trainable(copy_sharing_frozen(source.requires_grad_(False)), training)
    critic = make_trainable(copy.deepcopy(source).float(), training)
    if critic.get_output_embeddings().weight is not critic.get_input_embeddings().weight:
        critic.get_output_embeddings().requires_grad_(False)
    return critic


def copy_sharing_frozen(model: Any) -> Any:
    """A copy of a model that shares the parameters which are not trained."""
    shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, dict(shared))


def value_head(hidden_size: int) -> nn.Linear:
    """Scalar head of a value model: starts at zero, so the first advantages are the plain returns."""
    head = reward_head(hidden_size)
    nn.init.zeros_(head.weight)
    return head

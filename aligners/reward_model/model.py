"""What a reward model reads: a conversation, the response to rate, and facts; and its scalar reading of it.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525): the backbone of a vision-language model with a linear head on the last
token. Facts stand in this model's prompt and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from aligners.reward_model.facts import rating_conversation
from aligners.training.packing import Row, Segment, pack
from aligners.training.response_logps import attention_for, bare, last_positions
from aligners.training.shared_images import image_groups, image_inputs
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.images import ImageFile
from evalkit.schema import Prompt, Turn

# (turns up to the user turn that was answered, response, facts or None) -> the conversation to read
RatingStyle = Callable[[Sequence[Turn], str, Sequence[str] | None], Sequence[Turn]]
ImageOpener = Callable[[ImageFile], Image.Image]


@dataclass(frozen=True, slots=True)
class Rating:
    """One response to rate; `facts` None: without."""

    id: str
    image: ImageFile
    turns: tuple[Turn, ...]
    response: str
    facts: tuple[str, ...] | None


class RatingEncoder:
    """Turns ratings into model inputs, with a checkpoint's own chat template and image transform."""

    def __init__(
        self,
        encoder: PromptEncoder,
        style: RatingStyle = rating_conversation,
        open_image: ImageOpener = ImageFile.open,
    ) -> None:
        """`style` words the request; `open_image` may degrade what the reward model sees."""
        self.encoder, self.style, self.open_image = encoder, style, open_image

    def encode(self, ratings: Sequence[Rating]) -> dict[str, Tensor]:
        """Inputs of the backbone's forward, left-padded: the reward is read off the last column.

        Raises:
            DataError: if an image does not open, or a text holds a placeholder token of the model.
            EngineError: if the chat template drops a part of the conversation.
        """
        opened: dict[ImageFile, Image.Image] = {}
        for rating in ratings:
            if rating.image not in opened:
                opened[rating.image] = self.open_image(rating.image)
        prompts = [self.prompt(rating) for rating in ratings]
        encoded = self.encoder.encode(prompts, [[opened[rating.image]] for rating in ratings])
        return {name: value for name, value in encoded.inputs.items() if isinstance(value, Tensor)}

    def encode_by_image(self, ratings: Sequence[Rating]) -> "SharedRatings | None":
        """Inputs in which ratings about one image lie in one row; None if no two do, or they cannot.

        Raises:
            DataError, EngineError: as `encode`.
        """
        prompts = [self.prompt(rating) for rating in ratings]
        groups = image_groups(self.encoder, prompts, lambda place: [self.open_image(ratings[place].image)])
        images = image_inputs(groups) if groups is not None and len(groups) < len(ratings) else None
        if groups is None or images is None:
            return None
        rows, places = [], [(0, 0)] * len(ratings)
        for number, group in enumerate(groups):
            end = group.common
            rows.append(Row(group.ids[0][:end], [Segment((), ids[group.common :]) for ids in group.ids]))
            for member, ids in zip(group.members, group.ids, strict=True):
                end += len(ids) - group.common
                places[member] = (number, end - 1)
        packed = pack(rows, self.encoder.pad_id)
        inputs = {
            "input_ids": packed.input_ids,
            "position_ids": packed.position_ids,
            "attention_mask": packed.attention_mask,
        }
        return SharedRatings(inputs | images, torch.tensor(places))

    def prompt(self, rating: Rating) -> Prompt:
        """The conversation that the reward model reads, worded by the style."""
        turns = tuple(self.style(rating.turns, rating.response, rating.facts))
        return Prompt(rating.id, "", (rating.image,), turns=turns)


@dataclass(frozen=True, slots=True)
class SharedRatings:
    """Ratings of which several lie in a row; `places`: row and column of each one's last token, long (N, 2)."""

    inputs: Mapping[str, Tensor]
    places: Tensor


@dataclass(frozen=True, slots=True)
class RatingBatch:
    """Ratings as tensors, and the comparisons among them.

    inputs   of the backbone, (N, T)
    pairs    rows of the first and the second response of each comparison, long (P, 2)
    choice   1 where the second is preferred, else 0, long (P,)
    """

    inputs: Mapping[str, Tensor]
    pairs: Tensor
    choice: Tensor

    def to(self, device: torch.device) -> "RatingBatch":
        """The batch on another device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return RatingBatch(inputs, self.pairs.to(device), self.choice.to(device))


class RewardModel(nn.Module):
    """A vision-language model whose language-model head gave way to a scalar one; forward: inputs -> rewards (B,)."""

    def __init__(self, backbone: Any, head: nn.Linear | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.get_text_config().hidden_size
        self.head = head or reward_head(width).to(bare(backbone).device)
        self.shares_images: bool | None = None  # whether ratings about one image may lie in one row; None: not tried

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Rewards, float32 (B,)."""
        hidden = last_hidden(self.backbone, inputs).to(self.head.weight)
        return read_rewards(hidden, inputs["attention_mask"].to(hidden.device), self.head)

    def rate_shared(self, shared: SharedRatings) -> Tensor:
        """Rewards of ratings that lie in rows together, float32 (N,)."""
        mask = attention_for(bare(self.backbone), shared.inputs["attention_mask"])
        hidden = last_hidden(self.backbone, {**shared.inputs, "attention_mask": mask}).to(self.head.weight)
        rows, columns = shared.places.to(hidden.device).T
        rewards: Tensor = self.head(hidden[rows, columns]).squeeze(-1)
        return rewards if rewards.dtype is torch.float64 else rewards.float()

    def gradient_checkpointing_enable(self, **how: Any) -> None:
        """The backbone computes its activations again in the backward pass."""
        self.backbone.gradient_checkpointing_enable(**how)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """What is trained, and nothing else: the rest of the backbone is on disk already."""
        kept = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in kept}

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.head.weight.device


def last_hidden(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states of a vision-language model, PEFT adapters included, (B, T, D)."""
    core = bare(model)
    moved = {n: v.to(core.device, core.dtype if v.is_floating_point() else None) for n, v in inputs.items()}
    states: Tensor = core.model(**moved, use_cache=False).last_hidden_state
    return states


def reward_head(hidden_size: int) -> nn.Linear:
    """Scalar head of a reward model: linear, bias starts at zero."""
    head = nn.Linear(hidden_size, 1)
    nn.init.zeros_(head.bias)
    return head


def read_rewards(hidden: Tensor, attention_mask: Tensor, head: nn.Module) -> Tensor:
    """Reward of each row: the head on the last attended token, left or right padded alike.

    Args:
        hidden: last hidden states, (B, T, D).
        attention_mask: 1 on real tokens, (B, T).
        head: D -> 1.
    Returns:
        (B,), at least float32.
    """
    last = last_positions(attention_mask.bool())
    states = hidden[torch.arange(len(hidden), device=hidden.device), last]
    rewards: Tensor = head(states).squeeze(-1)
    return rewards if rewards.dtype is torch.float64 else rewards.float()

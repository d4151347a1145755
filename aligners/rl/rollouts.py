"""Rollouts: responses sampled from the current policy, as rows of tokens, and the batches in which models read them.

Responses come from the transformers engine on the live policy (a seed per prompt and sample, so batching changes
nothing). Log-probabilities are then taken in one forward pass, by the same function that PPO trains with: at the first
step the ratio of new to old probability is exactly one.

Rows of token ids around a rollout: cutting responses at their end, masks, left padding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from aligners.reward_model.facts import AnswerKind
from aligners.reward_model.model import last_hidden
from aligners.training.logprobs import IGNORE, chunk_tokens_for, entropies, hidden_token_logps
from aligners.training.response_logps import bare, pad_responses, vocabulary_size
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import TrainingError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class RolloutPrompt:
    """One prompt of the PPO stage; `length_multiplier` scales its length term."""

    id: str
    image: ImageFile
    text: str
    kind: AnswerKind = AnswerKind.GENERAL
    length_multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """Responses cut at their end.

    ids      padded after the cut, (B, T)
    has_end  True where the end token is in what remains, bool (B,)
    mask     True on response tokens, the end token included, bool (B, T)
    """

    ids: Tensor
    has_end: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Responses to prompts, `samples` of each, consecutive.

    prompts  one for each response, (B)
    texts    decoded responses, end token left out
    cut      token ids, padded to the longest response (or to the limit); has_end; mask, see Cut
    failed   prompts left out because a response could not be generated
    seed     of the sampling; whatever is drawn anew for each rollout may begin with it
    """

    prompts: tuple[RolloutPrompt, ...]
    texts: tuple[str, ...]
    cut: Cut
    failed: int = 0
    seed: int = 0

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response, the end token included."""
        counts: list[int] = self.cut.mask.sum(-1).tolist()
        return counts


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """Some responses behind their prompts, as model inputs.

    rows     indices of the responses
    inputs   keyword arguments of the model's forward, right-padded
    labels   response tokens, IGNORE elsewhere, (b, T)
    lengths  tokens of each response
    """

    rows: tuple[int, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """How responses are sampled.

    samples     per prompt
    limit       new tokens
    end_id      ends a response
    overriding  tokens that cut a response although they do not end it, see `cut_after_end`
    full_width  pad to the limit instead of the longest response
    batch_size  sequences decoded at once
    """

    samples: int
    temperature: float
    limit: int
    end_id: int
    overriding: tuple[int, ...] = ()
    full_width: bool = False
    batch_size: int = 64


def sample_rollouts(
    policy: Any,
    processor: Any,
    prompts: Sequence[RolloutPrompt],
    settings: RolloutSettings,
    seed: int,
) -> Rollouts:
    """Sample responses to prompts; the same seed gives the same responses whatever the batch size.

    Raises:
        TrainingError: if no prompt got its responses.
        DataError: if an image is missing.
    """
    engine = TransformersEngine.from_live(policy, processor, name="policy", batch_size=settings.batch_size)
    sampling = Sampling(settings.temperature, max_new_tokens=settings.limit, n=settings.samples, seed=seed)
    asked = [as_prompt(prompt, str(number)) for number, prompt in enumerate(prompts)]
    token_ids: dict[tuple[int, int], list[int]] = {}
    for response in engine.generate(asked, sampling):
        if response.failure is None and response.token_ids is not None:
            end = [settings.end_id] if response.finish == "stop" else []
            token_ids[int(response.prompt_id), response.sample] = [*response.token_ids, *end]
    complete = [
        number for number in range(len(prompts)) if all((number, k) in token_ids for k in range(settings.samples))
    ]
    if not complete:
        raise TrainingError(f"none of {len(prompts)} prompts could be answered")
    keys = [(number, sample) for number in complete for sample in range(settings.samples)]
    rows = [token_ids[key] for key in keys]
    width = settings.limit if settings.full_width else max(map(len, rows))
    pad_id = engine.encoder.pad_id
    ids = torch.tensor([row[:width] + [pad_id] * (width - len(row)) for row in rows])
    cut = cut_rows(ids, [len(row) for row in rows], settings, pad_id)
    texts = [engine.encoder.decode(row[kept].tolist()) for row, kept in zip(cut.ids, cut.mask, strict=True)]
    return Rollouts(tuple(prompts[number] for number, _ in keys), tuple(texts), cut, len(prompts) - len(complete), seed)


def cut_rows(ids: Tensor, lengths: Sequence[int], settings: RolloutSettings, pad_id: int) -> Cut:
    """`cut_after_end`, with padding that may equal the end token: what lies beyond a row's length is not a response."""
    cut = cut_after_end(ids, settings.end_id, pad_id, settings.overriding)
    inside = torch.arange(ids.shape[1]) < torch.tensor(list(lengths))[:, None]
    ended = ((cut.ids == settings.end_id) & inside).any(-1)
    return Cut(cut.ids, ended, cut.mask & inside)


def as_prompt(prompt: RolloutPrompt, name: str | None = None) -> Prompt:
    """The prompt as an engine takes it."""
    return Prompt(name or prompt.id, prompt.text, (prompt.image,))


def question_mark_ids(tokenizer: Any) -> tuple[int, ...]:
    """Tokens of a question mark, with and without a space before it, where they are single tokens."""
    encoded = [tokenizer(text, add_special_tokens=False).input_ids for text in ("?", " ?")]
    return tuple(dict.fromkeys(ids[-1] for ids in encoded if ids))


def rollout_batches(rollouts: Rollouts, encoder: PromptEncoder, size: int) -> list[RolloutBatch]:
    """Batches of at most `size` responses, in order; kept for a whole rollout, so that images are prepared once."""
    batches = []
    count = len(rollouts.prompts)
    for start in range(0, count, size):
        rows = tuple(range(start, min(start + size, count)))
        prompts = [as_prompt(rollouts.prompts[i]) for i in rows]
        responses = [rollouts.cut.ids[i][rollouts.cut.mask[i]].tolist() for i in rows]
        opened: dict[ImageFile, Image.Image] = {}
        images = []
        for prompt in prompts:
            file = prompt.images[0]
            if file not in opened:
                opened[file] = file.open()
            images.append([opened[file]])
        encoded = encoder.encode(prompts, images, responses, padding_side="right")
        labels = torch.full_like(encoded.inputs["input_ids"], IGNORE)
        for b, (begin, end) in enumerate(zip(encoded.starts, encoded.ends, strict=True)):
            labels[b, begin:end] = encoded.inputs["input_ids"][b, begin:end]
        inputs = {name: value for name, value in encoded.inputs.items() if isinstance(value, Tensor)}
        batches.append(RolloutBatch(rows, inputs, labels, tuple(map(len, responses))))
    return batches


def response_positions(hidden: Tensor, labels: Tensor) -> Tensor:
    """Hidden states from which each response token was predicted, row by row, (B, T, D) -> (N, D)."""
    return hidden[:, :-1][(labels != IGNORE)[:, 1:].to(hidden.device)]


def batch_logps(model: Any, batch: RolloutBatch, temperature: float, hidden: Tensor | None = None) -> Tensor:
    """Log-probabilities of the response tokens at the rollout's temperature, nats, (b, L), 0 behind the end."""
    core = bare(model)
    states = last_hidden(model, batch.inputs) if hidden is None else hidden
    labels = batch.labels.to(states.device)
    chunk = chunk_tokens_for(vocabulary_size(core))
    logps, mask = hidden_token_logps(states, _logits(core), labels, chunk_tokens=chunk, temperature=temperature)
    return pad_responses(logps[mask], batch.lengths)[0]


@torch.no_grad()
def batch_entropies(model: Any, batch: RolloutBatch, temperature: float, hidden: Tensor) -> Tensor:
    """Entropy of the distribution each response token was drawn from, nats, (b, L), 0 behind the end."""
    core = bare(model)
    states = response_positions(hidden, batch.labels)
    pieces = torch.split(states, chunk_tokens_for(vocabulary_size(core)))
    values = torch.cat([entropies(_logits(core)(piece), temperature) for piece in pieces])
    return pad_responses(values, batch.lengths)[0]


def _logits(core: Any) -> Any:
    """The language-model head, with the soft cap of the models that have one."""
    head = core.get_output_embeddings()
    cap = getattr(core.config.get_text_config(), "final_logit_softcapping", None)
    return (lambda states: torch.tanh(head(states) / cap) * cap) if cap else head


def widen(values: Tensor, width: int) -> Tensor:
    """Rows filled up with zeros on the right, (b, L) -> (b, width)."""
    return F.pad(values, (0, width - values.shape[1]))


def cut_after_end(ids: Tensor, end_id: int, pad_id: int, overriding_ids: Sequence[int] = ()) -> Cut:
    """Replace everything after the first end token by padding.

    Args:
        ids: sampled response tokens, right-padded, (B, T).
        end_id: the end token; a row without one is kept whole.
        pad_id: may equal `end_id`.
        overriding_ids: tokens whose first occurrence decides the cut instead, even behind the end token; of several
            the last listed wins. The released LLaVA-RLHF code lists the two question marks here, so its policy is
            punished for asking (no end token left).
    """
    positions = torch.arange(ids.shape[1], device=ids.device)
    cut = torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
    for token in (end_id, *overriding_ids):
        hits = ids == token
        cut = hits.int().argmax(-1).where(hits.any(-1), cut)
    kept = positions <= cut.unsqueeze(-1)
    result = ids.where(kept, pad_id)
    has_end = ((result == end_id) & kept).any(-1)
    content = (result != pad_id) | ((result == end_id) & kept)
    last = positions.where(content, -1).amax(-1, keepdim=True)
    return Cut(result, has_end, positions <= last)


def non_pad_lengths(ids: Tensor, pad_id: int) -> Tensor:
    """Tokens per row that are not `pad_id`, wherever they stand, (B,): the released code's response length."""
    return (ids != pad_id).sum(-1)


def left_pad(ids: Tensor, pad_id: int) -> Tensor:
    """Move all `pad_id` of each row to its front; the other tokens keep their order, (B, T) -> (B, T).

    Padding inside a row disappears too: a true token of that id is lost (LLaVA-RLHF pads with the unknown token).
    """
    order = (ids != pad_id).int().argsort(dim=-1, stable=True)
    return ids.gather(-1, order)

"""Engine on Hugging Face transformers: any image-text-to-text checkpoint, on a CPU, a GPU, or several by device_map.

Batched responses equal those of batch size 1 up to float noise (`evalkit.engines.model.parity` proves it for a
checkpoint): prompts are padded on the left and masked, positions follow the mask, and sampling draws from a seed per
(prompt, sample). Prompts about the same images are read together, what they share once (see `model.prefixes.sharing`),
if a check on first use shows that the logits stay the same; otherwise every prompt is read whole.
Decoding uses the settings of `Sampling` alone; penalties and the like in a checkpoint's generation_config.json are not
applied, its end tokens are.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig

from evalkit.engines.base import Choices, TokenLogprobs
from evalkit.engines.model.batching import Batch, free_memory, plan, run_batches
from evalkit.engines.model.causality import check_causality
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.inputs.settings import InputSettings, input_facts
from evalkit.engines.model.loading import Checkpoint, content_hash, load_checkpoint
from evalkit.engines.model.prefixes.check import fronts_agree, quickest_step, sharing_problem
from evalkit.engines.model.prefixes.decoding import Advance, Started, decode
from evalkit.engines.model.prefixes.prefill import read_whole, repeat
from evalkit.engines.model.prefixes.ready import Ready, continued, prepared
from evalkit.engines.model.prefixes.sharing import Rows, Sharing
from evalkit.engines.model.running import answer_logits, end_ids, inference, on_device
from evalkit.engines.model.seeded_sampling import TokenChooser
from evalkit.engines.model.surface_forms import split_forms
from evalkit.engines.model.token_rows import Encoded, per_token
from evalkit.engines.served.groups import PromptTokens, group_of
from evalkit.errors import DataError, EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

T = TypeVar("T")

PER_IMAGE = 8  # prompts, on average, that are asked at once about each image that is read at once


class TransformersEngine:
    """Answers prompts with a transformers model; implements `evalkit.engines.base.Engine`.

    encoder         the prompt encoding, shared with training
    end_ids         tokens that end a response
    prompt_tokens   tokens of prompts so far, and how many of them were not read again
    share_prefixes  whether to read together what prompts share; False reads every prompt whole, to compare with
    """

    share_prefixes = True

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        batch_size: int = 8,
        adapter: str | Path | None = None,
        chat_template: str | None = None,
        image_backend: str = "pil",
        image_padding: str | None = None,
        system_text: str | None = None,
        base: str | None = None,
        vision_tower: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        """Load a checkpoint; see `load_checkpoint` for the arguments it shares.

        Args:
            batch_size: whole prompts read and decoded at once; halved where memory runs out. Of prompts that share
                images, so many images are read at once, and as many prompts about them as the same memory takes.
            chat_template: Jinja text that replaces the checkpoint's own.
            image_padding: "crop" or "pad", for LLaVA-1.5; None is the checkpoint's own.
            system_text: "none", "vicuna_v1", "llava_v1" or a text; None is the chat template's own.
            name: shown in reports; None is the checkpoint as given.
        Raises:
            EngineError: if the checkpoint, its processor, its chat template or the adapter is missing or broken.
        """
        inputs = InputSettings(image_padding, system_text)
        checkpoint = load_checkpoint(
            model,
            revision=revision,
            dtype=dtype,
            device=device,
            device_map=device_map,
            adapter=adapter,
            image_backend=image_backend,
            base=base,
            vision_tower=vision_tower,
            inputs=inputs,
        )
        self._set_up(checkpoint, name or str(model), batch_size, inputs.over(chat_template))

    @classmethod
    def from_live(
        cls, model: Any, processor: Any, *, name: str, batch_size: int = 8, chat_template: str | None = None
    ) -> "TransformersEngine":
        """An engine on a model in memory, e.g. a policy in training: its mode is restored after each call."""
        engine = cls.__new__(cls)
        engine._set_up(Checkpoint(model, processor, "live", None, None), name, batch_size, chat_template)
        return engine

    def _set_up(self, checkpoint: Checkpoint, name: str, batch_size: int, chat_template: str | None) -> None:
        if batch_size < 1:
            raise EngineError(f"batch_size must be at least 1; got {batch_size}")
        self.name = name
        self.batch_size = batch_size
        self.encoder = PromptEncoder(checkpoint.processor, chat_template)
        self._checkpoint: Checkpoint | None = checkpoint
        self.end_ids = end_ids(self.model, self.encoder.tokenizer)
        self._stopping = False
        self._causal = False
        self._problem: tuple[str | None] | None = None
        self._agree: bool | None = None
        self._advance: Advance | None = None
        self.prompt_tokens = PromptTokens()

    @property
    def model(self) -> Any:
        """The model; a LoRA model without its PEFT wrapper (the adapter's layers stay active).

        Raises:
            EngineError: if the engine has been closed.
        """
        if self._checkpoint is None:
            raise EngineError(f"engine {self.name!r} is closed")
        model = self._checkpoint.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def describe(self) -> Mapping[str, Json]:
        """What the manifest records."""
        model, checkpoint = self.model, self._checkpoint
        assert checkpoint is not None
        image_processor = self.encoder.processor.image_processor
        template = self.encoder.chat_template.encode()
        return {
            "engine": "transformers",
            "model": self.name if checkpoint.source == "live" else checkpoint.source,
            "adapter": checkpoint.adapter,
            "revision": checkpoint.revision,
            "content": content_hash(model),
            "family": model.config.model_type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "image_processor": type(image_processor).__name__,
            "chat_template": hashlib.sha256(template).hexdigest()[:8],
            **input_facts(self.encoder.processor, self.encoder.chat_template, model.config.model_type),
            **checkpoint.facts,
            "batch_size": self.batch_size,
            "shared_prefixes": self._whole_because or "on",
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        }

    @property
    def _whole_because(self) -> str | None:
        """Why prompts are read whole; None if they are read in parts. The check is made when it is first asked for."""
        if not self.share_prefixes:
            return "off"
        if self._problem is None:
            self._problem = (sharing_problem(self.model, self.encoder),)
        return f"off: {self._problem[0]}" if self._problem[0] is not None else None

    @property
    def _fronts_agree(self) -> bool:
        """Whether the processor may be given several images at once; tried when it is first asked for."""
        if self._agree is None:
            self._agree = fronts_agree(self.encoder)
        return self._agree

    @property
    def _step(self) -> Advance:
        """What decodes one more token; chosen when it is first asked for."""
        if self._advance is None:
            self._advance = quickest_step(self.model, self.encoder)
        return self._advance

    # --- generate -----------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """`sampling.n` responses per prompt, batch by batch, longest prompts first.

        An image that turns out to be truncated, a prompt beyond the model's context, and a single sequence that does
        not fit into memory give failed responses. Greedy and beam responses are decoded once and repeated n times.

        Raises:
            DataError: before anything is generated, if an image is missing or is not an image.
            EngineError: if the model or its processor fails for another reason than memory.
        """
        self._stopping = False
        decoded = sampling.n if sampling.temperature > 0 else 1
        groups, sharing = self._groups(prompts, not _needs_generate(sampling))
        if not _needs_generate(sampling) and self._whole_because is None:
            self._step  # noqa: B018  (its check comes before the first batch, not between two)
        width = max(1, self.batch_size // sampling.num_beams)
        batches = plan(prompts, width, decoded, groups=groups, per_image=PER_IMAGE if decoded == 1 else 1)

        def prepare(batch: Batch) -> Iterable[Ready]:
            shared = sharing if any(groups[i] for i in batch.indices) else None
            return prepared(self.encoder, self.model, [prompts[i] for i in batch.indices], shared, width)

        def work(batch: Batch, parts: Iterable[Ready]) -> list[Response]:
            return [response for ready in parts for response in self._answer(ready, batch.samples, sampling)]

        for batch, responses in run_batches(batches, prepare, work):
            if responses is None:
                prompt = prompts[batch.indices[0]]
                responses = [_failed(prompt, s, "out of memory, even alone in a batch") for s in batch.samples]
            for response in responses:
                yield response
                if decoded < sampling.n:
                    yield from (replace(response, sample=sample) for sample in range(1, sampling.n))
            if self._stopping:
                return

    def _groups(self, prompts: Sequence[Prompt], possible: bool = True) -> tuple[list[Hashable | None], Sharing | None]:
        """(which prompts go together, None for one that is alone; what reads them, None if all are read whole)."""
        if not possible or self._whole_because is not None:
            return [None] * len(prompts), None
        keys = [group_of(prompt) for prompt in prompts]
        sizes = Counter(keys)
        return [key if sizes[key] > 1 else None for key in keys], Sharing(
            self.encoder, self.batch_size, self.prompt_tokens, self._fronts_agree
        )

    def _answer(self, ready: Ready, samples: range, sampling: Sampling) -> list[Response]:
        responses = [_failed(prompt, sample, reason) for prompt, reason in ready.failures for sample in samples]
        if ready.encoded is None:
            return responses
        jobs = [(prompt, sample) for prompt in ready.prompts for sample in samples]
        for (prompt, sample), ids in zip(jobs, self._decode(ready.encoded, jobs, sampling), strict=True):
            ended = next((i for i, token in enumerate(ids) if token in self.end_ids), None)
            kept = tuple(ids[:ended])
            responses.append(
                Response(
                    prompt_id=prompt.id,
                    text=self.encoder.decode(kept),
                    sample=sample,
                    finish="length" if ended is None else "stop",
                    token_ids=kept,
                    tokens=len(kept),
                )
            )
        return responses

    def _decode(
        self, encoded: Encoded | Rows, jobs: Sequence[tuple[Prompt, int]], sampling: Sampling
    ) -> list[list[int]]:
        """New token ids of every job (prompt, sample), end and padding tokens included."""
        seeds = [sampling.seed_for(prompt.id, sample) for prompt, sample in jobs] if sampling.temperature > 0 else []
        if isinstance(encoded, Encoded) and (_needs_generate(sampling) or self._whole_because is not None):
            return self._decode_whole(encoded, len(jobs), seeds, sampling)
        step, times = self._step, len(jobs) // len(encoded.lengths)
        written: list[list[int]] = [[]] * len(jobs)
        with inference(self.model) as model:
            for places, started in self._read(model, encoded, sampling.max_new_tokens, times):
                rows = [place * times + sample for place in places for sample in range(times)]
                chooser = TokenChooser(
                    self.encoder.placeholder_ids, sampling, [seeds[r] for r in rows] if seeds else []
                )
                limit, pad = sampling.max_new_tokens, self.encoder.pad_id
                new = decode(step, repeat(started, times), chooser, self.end_ids, pad, limit)
                for row, ids in zip(rows, new, strict=True):
                    written[row] = ids
        return written

    def _read(
        self, model: Any, encoded: Encoded | Rows, new: int, times: int
    ) -> Iterator[tuple[Sequence[int], Started]]:
        """(places of some prompts, what was read of them) until all are read; each will be repeated so many times."""
        if isinstance(encoded, Rows):
            yield from encoded.reader.read(model, encoded, 1, new, at_once=times > 1)
        else:
            self.prompt_tokens.add(sum(encoded.lengths), 0)
            yield range(len(encoded.lengths)), read_whole(model, encoded)

    def _decode_whole(
        self, encoded: Encoded, rows: int, seeds: Sequence[int], sampling: Sampling, before: Sequence[Any] = ()
    ) -> list[list[int]]:
        """By `generate` of transformers; `before` are logits processors that work before the next token is chosen."""
        chooser = TokenChooser(self.encoder.placeholder_ids, sampling, seeds, encoded.width, encoded.begins)
        warpers_off = {"temperature": 1.0, "top_p": 1.0, "top_k": 0} if seeds else {}  # the chooser does it all
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=bool(seeds),
            num_return_sequences=rows // len(encoded.starts),
            num_beams=sampling.num_beams,
            eos_token_id=sorted(self.end_ids),
            pad_token_id=self.encoder.pad_id,
            **warpers_off,
        )
        with inference(self.model) as model:
            out = model.generate(
                **on_device(model, encoded), generation_config=config, logits_processor=[*before, chooser]
            )
        written: list[list[int]] = out[:, encoded.width :].tolist()
        return written

    # --- probabilities ------------------------------------------------------------------------------------------------

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str | Sequence[int]]) -> list[TokenLogprobs]:
        """Per-token log-probabilities of one continuation per prompt: text, or token ids (of an earlier response).

        These are the model's own, at temperature 1 and with no token suppressed.

        Raises:
            DataError: if an image cannot be read, or there is not one continuation per prompt.
            EngineError: if the model fails, or a single row does not fit into memory.
        """
        if len(prompts) != len(continuations):
            raise DataError(f"expected one continuation per prompt; got {len(continuations)} for {len(prompts)}")
        rows = [self.encoder.continuation_ids(c) if isinstance(c, str) else list(c) for c in continuations]
        self._prove_causal(prompts, rows)

        def read(index: int, logits: Tensor) -> TokenLogprobs:
            ids = torch.tensor(rows[index], dtype=torch.long, device=logits.device)
            chosen = logits[:-1].log_softmax(-1).gather(1, ids[:, None])[:, 0]
            return TokenLogprobs(tuple(rows[index]), tuple(chosen.tolist()))

        return self._measure(prompts, rows, read)

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """Probability mass of each group's surface forms at the first answer token.

        The mass of a group is the sum over the distinct first tokens of its forms (each tokenised as a continuation).
        Where all forms of all groups begin with the same tokens (a byte-level space, say), the mass is that of these
        tokens followed by the first one that differs.

        Raises:
            DataError: if an image cannot be read.
            EngineError: if two groups share a token, so that they cannot be told apart; or as in `logprobs`.
        """
        prefix, firsts = split_forms([[self.encoder.continuation_ids(form) for form in group] for group in groups])

        def read(_: int, logits: Tensor) -> Choices:
            probabilities = logits.cpu().double().softmax(-1)
            reached = math.prod(probabilities[step, token].item() for step, token in enumerate(prefix))
            masses = tuple(reached * probabilities[-1, tokens].sum().item() for tokens in firsts)
            return Choices(masses, self.encoder.decode([int(probabilities[0].argmax())]))

        return self._measure(prompts, [prefix] * len(prompts), read)

    def _prove_causal(self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]]) -> None:
        """Once, for families that tell tokens apart by more than ids: no token of a continuation sees later ones."""
        index = next((i for i, row in enumerate(rows) if len(row) > 1), None)
        if self._causal or index is None:
            return
        encoded = self.encoder.encode([prompts[index]], None, [rows[index]], padding_side="right")
        if set(per_token(encoded.inputs)) - {"input_ids", "attention_mask"}:
            with inference(self.model) as model:
                check_causality(model, on_device(model, encoded), encoded.starts[0])
        self._causal = True

    def _measure(
        self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]], read: Callable[[int, Tensor], T]
    ) -> list[T]:
        """read(prompt index, float32 logits (len(row) + 1, V)) per prompt: before each token of its row, and after.

        Reading is part of a batch's work: no logits outlive it, and memory that runs out in it halves the batch.
        """

        groups, sharing = self._groups(prompts)

        def prepare(batch: Batch) -> Iterable[tuple[Sequence[int], Encoded | Rows]]:
            shared = sharing if any(groups[i] for i in batch.indices) else None
            return continued(self.encoder, prompts, rows, batch.indices, shared, self.batch_size)

        def work(batch: Batch, parts: Iterable[tuple[Sequence[int], Encoded | Rows]]) -> dict[int, T]:
            return {i: read(i, row) for indices, encoded in parts for i, row in self._logits(encoded, indices, rows)}

        readings: dict[int, T] = {}
        extra = [len(row) for row in rows]
        batches = plan(prompts, self.batch_size, extra=extra, groups=groups, per_image=PER_IMAGE)
        for batch, entries in run_batches(batches, prepare, work):
            if entries is None:
                raise EngineError(f"prompt {prompts[batch.indices[0]].id!r}: out of memory, even alone in a batch")
            readings |= entries
        return [readings[i] for i in range(len(prompts))]

    def _logits(
        self, encoded: Encoded | Rows, indices: Sequence[int], rows: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, Tensor]]:
        """(index of a prompt, float32 logits before each token of its row and after), for each prompt of a batch."""
        if isinstance(encoded, Encoded):
            yield from zip(indices, answer_logits(self.model, encoded), strict=True)
            return
        keep = max(len(rows[i]) for i in indices) + 1
        with inference(self.model) as model:
            for places, started in encoded.reader.read(model, encoded, keep):
                for place, logits in zip(places, started.logits, strict=True):  # all rows end in the last column
                    yield indices[place], logits[-len(rows[indices[place]]) - 1 :].float()

    def stop(self) -> None:
        """See `Engine.stop`: the batch under way is finished."""
        self._stopping = True

    def close(self) -> None:
        """Drop the model and free its memory."""
        self._checkpoint = self._advance = None
        free_memory()


def _needs_generate(sampling: Sampling) -> bool:
    """Whether transformers' own loop decodes: for beams, and for a penalty on the tokens of the whole prompt."""
    return sampling.num_beams > 1 or sampling.repetition_penalty != 1


def _failed(prompt: Prompt, sample: int, reason: str) -> Response:
    return Response(prompt.id, text=None, sample=sample, failure=reason)

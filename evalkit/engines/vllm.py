"""Engine on vLLM, in this process: continuous batching, several GPUs, several nodes.

vLLM loads the weights; prompts are encoded by `PromptEncoder` and images transformed with the same back end as in the
transformers engine, so both see the same tokens and pixels. Requests are fed continuously: as soon as one finishes the
next one is handed over, so vLLM's scheduler is never short of work and only a window of images is in memory. Every
response is a request of its own, with its own seed, and is yielded when it finishes. Sampled responses are reproducible
and do not depend on the batch, but they are other draws than those of the transformers engine.

Parallelism is vLLM's own: `tensor_parallel_size`, `pipeline_parallel_size`, `data_parallel_size`,
`distributed_executor_backend="ray"` and every other field of vLLM's AsyncEngineArgs.
"""

import asyncio
import hashlib
import itertools
import math
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from evalkit.engines.base import Choices, TokenLogprobs
from evalkit.engines.model.batching import image_area
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.families import LOAD_ERRORS
from evalkit.engines.model.inputs.settings import InputSettings, input_facts
from evalkit.engines.model.running import ends_of
from evalkit.engines.model.saved.converting import served_front
from evalkit.engines.model.surface_forms import split_forms
from evalkit.engines.served.background import Background, Turns
from evalkit.engines.served.groups import PromptTokens, together
from evalkit.engines.vllm_settings import (
    PLUMBING,
    files_hash,
    layers_of,
    own_dtype,
    plain,
    read_settings,
    room_for,
    vllm_version,
)
from evalkit.errors import DataError, EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

T = TypeVar("T")

NEVER = -100.0  # the lowest bias vLLM takes, for the logits of placeholder tokens: e^-50 at its highest temperature, 2
FIRST_AND_LAST = 1 << 30  # tokens between two reports of a request: it reports that it runs, and that it is done


class VLLMEngine:
    """Answers prompts with a model that vLLM runs; implements `evalkit.engines.base.Engine`.

    encoder        the prompt encoding, shared with the transformers engine and with training
    prompt_tokens  tokens of prompts so far, and how many of them vLLM's prefix cache held
    """

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        dtype: str | None = None,
        adapter: str | Path | None = None,
        chat_template: str | None = None,
        image_backend: str = "pil",
        image_padding: str | None = None,
        system_text: str | None = None,
        base: str | None = None,
        vision_tower: str | Path | None = None,
        name: str | None = None,
        **engine_args: Any,
    ) -> None:
        """Start vLLM on a checkpoint.

        Args:
            model: folder or hub name; a folder that holds only an adapter stands for the base it names.
            revision: branch, tag or commit of a hub name.
            dtype: None is the checkpoint's own, as in the transformers engine (vLLM's "auto" halves float32).
            adapter: folder of a LoRA adapter on the language model, applied to every request.
            chat_template: Jinja text that replaces the checkpoint's own.
            image_backend: "pil" or "torchvision", see `load_checkpoint`.
            image_padding, system_text, base, vision_tower: as in the transformers engine. An original LLaVA is
                converted once, into the cache folder; other images are padded only if the checkpoint's files say so.
            name: shown in reports; None is the checkpoint as given.
            engine_args: fields of vLLM's AsyncEngineArgs; text that starts with { or [ is read as JSON.
        Raises:
            UsageError: if vLLM knows no such setting.
            EngineError: if vLLM is not installed or cannot serve the checkpoint, or the adapter changes more than the
                language model.
        """
        # Turn off vLLM's usage reporting; keep its log off stdout.
        for variable, value in {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}.items():
            os.environ.setdefault(variable, value)
        given = read_settings(engine_args)
        inputs = InputSettings(image_padding, system_text)
        front, self._folder = served_front(
            model, inputs, adapter, image_backend, revision=revision, base=base, vision_tower=vision_tower
        )
        self.name = name or str(model)
        self.encoder = PromptEncoder(front.processor, inputs.over(chat_template))
        self._front, self._revision, self._given = front, revision, given
        self._dtype = own_dtype(front.config) if dtype in (None, "auto") else str(dtype)
        self._image_backend = image_backend
        self._lora: Any = None
        self._stopping = False
        self.prompt_tokens = PromptTokens()
        self._numbers = itertools.count()
        self._background: Background | None = Background()
        try:
            self._background.run(self._open())
        except BaseException:
            self._background.stop()
            self._background = None
            raise

    async def _open(self) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        # vLLM's processes inherit the mask: Ctrl-C reaches this process only, which lets them finish what is in flight.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._loop, self._stop_asked = asyncio.get_running_loop(), asyncio.Event()
        self._turns = Turns()
        try:
            self._llm: Any = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._arguments()))
        except LOAD_ERRORS as error:
            raise EngineError(f"vLLM cannot serve {self.name}: {_reason(error)} (more in vLLM's log above)") from error
        generation = self._llm.model_config.try_get_generation_config() or {}
        self._end_ids = ends_of(generation.get("eos_token_id"), self.encoder.tokenizer)

    def _arguments(self) -> dict[str, Any]:
        front = self._front
        arguments = {
            "model": self._folder,
            "revision": self._revision if self._folder == front.source else None,
            "dtype": self._dtype,
            "disable_log_stats": True,
            "enable_prefix_caching": True,
            **self._given,
        }
        arguments["mm_processor_kwargs"] = {
            "backend": self._image_backend,
            **(self._given.get("mm_processor_kwargs") or {}),
        }
        if front.adapter is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, str(front.adapter.resolve()))
            layers = layers_of(front.adapter, vision=bool(self._given.get("enable_tower_connector_lora")))
            room = {"max_lora_rank": room_for(front.adapter), "lora_target_modules": layers}
            arguments = {"enable_lora": True, **room, **arguments}
        return arguments

    def describe(self) -> Mapping[str, Json]:
        """What the manifest records."""
        self._running()
        front = self._front
        settings: dict[str, Json] = {key: plain(value) for key, value in sorted(self._given.items())}
        where = [f"{key}={value}" for key, value in settings.items() if key in PLUMBING]
        return {
            "engine": "vllm",
            "model": front.source,
            "adapter": str(front.adapter) if front.adapter is not None else None,
            "revision": getattr(front.config, "_commit_hash", None) or self._revision,
            "content": files_hash(self._folder, front.adapter),
            "family": front.config.model_type,
            "dtype": str(self._llm.model_config.dtype).removeprefix("torch."),
            "device": " ".join([str(self._llm.vllm_config.device_config.device_type), *where]),
            "image_processor": type(self.encoder.processor.image_processor).__name__,
            "chat_template": hashlib.sha256(self.encoder.chat_template.encode()).hexdigest()[:8],
            **input_facts(self.encoder.processor, self.encoder.chat_template, front.config.model_type),
            **front.facts,
            "engine_args": {key: value for key, value in settings.items() if key not in PLUMBING},
            "versions": {name: version(name) for name in ("transformers", "torch")} | {"vllm": vllm_version()},
        }

    # --- generate -----------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """`sampling.n` responses per prompt, each as soon as vLLM has finished it.

        A truncated image and a prompt beyond the model's context give failed responses. Greedy responses are decoded
        once and repeated n times.

        Raises:
            DataError: before anything is generated, if an image is missing or is not an image.
            EngineError: if vLLM dies, or for beam search, which it does not offer here.
        """
        if sampling.num_beams > 1:
            raise EngineError("the vllm engine offers no beam search: use num_beams 1, or the transformers engine")
        for prompt in prompts:
            _check_images(prompt)
        decoded = sampling.n if sampling.temperature > 0 else 1
        every = ((prompts[i], s) for i in together(prompts) for s in range(decoded))
        jobs = itertools.takewhile(lambda _: not self._stopping, every)
        for response in self._stream(jobs, lambda job: self._respond(job[0], job[1], sampling)):
            if response is None:
                continue  # asked to stop before vLLM had begun with it
            yield response
            if decoded < sampling.n:
                yield from (replace(response, sample=sample) for sample in range(1, sampling.n))

    async def _respond(self, prompt: Prompt, sample: int, sampling: Sampling) -> Response | None:
        settings: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "logit_bias": dict.fromkeys(self.encoder.placeholder_ids, NEVER) or None,
            "stop_token_ids": sorted(self._end_ids),
        }
        settings |= {k: v for k, v in sampling.as_dict().items() if k in ("top_k", "repetition_penalty")}
        if sampling.temperature > 0:
            settings["seed"] = sampling.seed_for(prompt.id, sample)
        try:
            out = await self._ask(prompt, [], settings, may_stop=True)
        except (DataError, _RequestError) as error:
            return Response(prompt.id, None, sample, failure=str(error))
        if out is None:
            return None
        answer = out.outputs[0]
        ids = list(answer.token_ids)
        ended = next((i for i, token in enumerate(ids) if token in self._end_ids), None)
        kept = tuple(ids[:ended])
        text = self.encoder.decode(kept)
        return Response(prompt.id, text, sample, answer.finish_reason, token_ids=kept, tokens=len(kept))

    # --- probabilities ------------------------------------------------------------------------------------------------

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str | Sequence[int]]) -> list[TokenLogprobs]:
        """Per-token log-probabilities of one continuation per prompt: text, or token ids (of an earlier response).

        These are the model's own, at temperature 1 and with no token suppressed.

        Raises:
            DataError: if an image cannot be read, or there is not one continuation per prompt.
            EngineError: if vLLM dies or refuses a prompt.
        """
        if len(prompts) != len(continuations):
            raise DataError(f"expected one continuation per prompt; got {len(continuations)} for {len(prompts)}")
        rows = [self.encoder.continuation_ids(c) if isinstance(c, str) else list(c) for c in continuations]
        entries = [TokenLogprobs((), ())] * len(prompts)

        async def work(index: int) -> tuple[int, TokenLogprobs]:
            out = await self._measure(prompts[index], rows[index], {"prompt_logprobs": 0})
            return index, TokenLogprobs(tuple(rows[index]), tuple(_logps(out, rows[index])))

        for index, entry in self._stream((i for i in together(prompts) if rows[i]), work):
            entries[index] = entry
        return entries

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """Probability mass of each group's surface forms at the first answer token; see `TransformersEngine.choices`.

        Raises:
            DataError: if an image cannot be read.
            EngineError: if two groups share a token; or as in `logprobs`.
        """
        by_index = dict(self.stream_choices(prompts, groups))
        return [by_index[index] for index in range(len(prompts))]

    def stream_choices(
        self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, Choices]]:
        """See `StreamsChoices`."""
        prefix, firsts = split_forms([[self.encoder.continuation_ids(form) for form in group] for group in groups])
        named = sorted({token for group in firsts for token in group})
        settings: dict[str, Any] = {"logprob_token_ids": named} if named else {}
        if prefix:
            settings["prompt_logprobs"] = 1  # the token itself and the most likely one

        async def work(index: int) -> tuple[int, Choices]:
            out = await self._measure(prompts[index], prefix, settings)
            reached = math.exp(sum(_logps(out, prefix)))
            at = out.outputs[0].logprobs[0] if named else {}
            masses = tuple(reached * sum(math.exp(at[token].logprob) for token in group) for group in firsts)
            first = out.prompt_logprobs[-len(prefix)] if prefix else None
            best = _most_likely(first) if first is not None else out.outputs[0].token_ids[0]
            return index, Choices(masses, self.encoder.decode([best]))

        return self._stream(together(prompts), work)

    async def _measure(self, prompt: Prompt, row: Sequence[int], settings: Mapping[str, Any]) -> Any:
        """Outputs of one greedy step after prompt + row.

        Raises:
            EngineError: if vLLM refuses the request: a measurement has no third state.
        """
        try:
            return await self._ask(prompt, row, {"temperature": 0.0, "max_tokens": 1, **settings})
        except _RequestError as error:
            raise EngineError(f"prompt {prompt.id!r}: {error}") from error

    # --- requests -----------------------------------------------------------------------------------------------------

    def _stream(self, jobs: Iterable[Any], work: Callable[[Any], Coroutine[Any, Any, T]]) -> Iterator[T]:
        """Work on the jobs, twice as many at once as vLLM decodes, so that others wait in its queue."""
        background = self._running()
        config = self._llm.vllm_config
        window = 2 * config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size

        return background.stream(iter(jobs), work, window)

    async def _ask(
        self, prompt: Prompt, row: Sequence[int], settings: Mapping[str, Any], may_stop: bool = False
    ) -> Any | None:
        """The finished output of one request; None if it was to be stopped and vLLM had not begun with it."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        inputs = self._inputs(prompt, row)
        images = await self._turns.result(asyncio.to_thread(lambda: [file.open() for file in prompt.images]))
        if images:
            inputs["multi_modal_data"] = {"image": images}
        try:
            params = SamplingParams(
                **settings,
                detokenize=False,
                output_kind=RequestOutputKind.CUMULATIVE,
                stream_interval=FIRST_AND_LAST,
            )
            outputs = self._llm.generate(inputs, params, str(next(self._numbers)), lora_request=self._lora)
            return await self._last(outputs, may_stop)
        except EngineDeadError as error:
            raise EngineError(
                f"vLLM's engine has died while it worked on {self.name} (its log above says why, e.g. out of memory); "
                "what was finished is kept, rerun the same command to resume"
            ) from error
        except (ValueError, _vllm_refusal(), EngineGenerateError) as error:
            raise _RequestError(f"vLLM refused the prompt: {_reason(error.__cause__ or error)}") from error

    async def _last(self, outputs: AsyncIterator[Any], may_stop: bool) -> Any | None:
        """The last output; the request is dropped if the engine is asked to stop before its first token."""
        first = asyncio.ensure_future(anext(outputs))
        if may_stop:
            stop = asyncio.ensure_future(self._stop_asked.wait())
            try:
                await asyncio.wait({first, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
            if not first.done():
                first.cancel()
                return None
        last = await first
        async for output in outputs:
            last = output
        self.prompt_tokens.add(len(last.prompt_token_ids), last.num_cached_tokens or 0)
        return last

    def _inputs(self, prompt: Prompt, row: Sequence[int]) -> dict[str, Any]:
        """vLLM's form of prompt + continuation: one placeholder per image, which vLLM expands."""
        text, tokenizer = self.encoder.render(prompt), self.encoder.tokenizer
        bos = tokenizer.bos_token
        keywords = {"add_special_tokens": False} if bos is not None and text.startswith(bos) else {}
        inputs: dict[str, Any] = {"prompt_token_ids": [*tokenizer(text, **keywords).input_ids, *row]}
        if prompt.images:  # the file's hash spares vLLM hashing pixels, and lets samples share one encoding
            inputs["multi_modal_uuids"] = {"image": [file.sha256() for file in prompt.images]}
        return inputs

    def stop(self) -> None:
        """See `Engine.stop`: requests that vLLM has not begun are dropped, the others are finished."""
        self._stopping = True
        if self._background is not None:
            self._loop.call_soon_threadsafe(self._stop_asked.set)

    def close(self) -> None:
        """End vLLM's processes."""
        if self._background is not None:
            background, self._background = self._background, None
            background.run(self._shut_down())
            background.stop()

    async def _shut_down(self) -> None:
        self._llm.shutdown()
        del self._llm
        await asyncio.sleep(0.01)  # lets vLLM's own task on this loop end

    def _running(self) -> Background:
        if self._background is None:
            raise EngineError(f"engine {self.name!r} is closed")
        return self._background


class _RequestError(Exception):
    """vLLM refused one request; the engine itself goes on."""


def _check_images(prompt: Prompt) -> None:
    try:
        for file in prompt.images:
            image_area(file)
    except DataError as error:
        raise DataError(f"prompt {prompt.id!r}: {error}") from error


def _logps(out: Any, row: Sequence[int]) -> list[float]:
    """Log-probabilities of the last tokens of a request's prompt."""
    if not row:
        return []
    return [float(at[token].logprob) for token, at in zip(row, out.prompt_logprobs[-len(row) :], strict=True)]


def _most_likely(at: Mapping[int, Any]) -> int:
    return max(at, key=lambda token: float(at[token].logprob))


def _vllm_refusal() -> type[Exception]:
    from vllm.exceptions import VLLMClientError

    refusal: type[Exception] = VLLMClientError
    return refusal


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]

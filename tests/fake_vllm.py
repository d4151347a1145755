"""A stand-in for the parts of vLLM that the engine calls: answers by rule, refuses, dies, waits when told to."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import torch


class ClientError(Exception):
    """vllm.exceptions.VLLMClientError."""


class DeadError(Exception):
    """vllm.v1.engine.exceptions.EngineDeadError."""


class GenerateError(Exception):
    """vllm.v1.engine.exceptions.EngineGenerateError."""


@dataclass
class AsyncEngineArgs:
    """A few of the real one's fields."""

    model: str = ""
    revision: str | None = None
    dtype: str = "auto"
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    distributed_executor_backend: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int = 4
    disable_log_stats: bool = False
    enable_prefix_caching: bool | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    enable_lora: bool = False
    max_lora_rank: int = 16
    lora_target_modules: list[str] | None = None
    enable_tower_connector_lora: bool = False


@dataclass
class SamplingParams:
    """What one request is asked for."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    logit_bias: dict[int, float] | None = None
    stop_token_ids: list[int] | None = None
    logprob_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    output_kind: Any = None
    stream_interval: int | None = None
    top_k: int = 0
    repetition_penalty: float = 1.0


@dataclass
class Script:
    """What the fake does.

    ids         tokens of every answer; None: the request's seed modulo 100, then the end token 2
    slots       requests that run at once; the others wait
    hold        requests run, and do not end, until this is set
    refuse      number of prompt tokens from which a prompt is refused
    die_after   answers before the engine dies
    cached      tokens of every prompt that the prefix cache holds
    """

    ids: list[int] | None = None
    slots: int = 4
    hold: bool = False
    refuse: int = 1 << 30
    die_after: int = 1 << 30
    cached: int = 0
    start_error: Exception | None = None
    args: AsyncEngineArgs | None = None
    requests: list[tuple[dict[str, Any], SamplingParams, Any]] = field(default_factory=list)
    answered: int = 0
    most: int = 0
    aborted: int = 0
    shut: int = 0


def install(monkeypatch: Any, script: Script) -> None:
    """Put the fake package in place of vLLM for one test."""

    class AsyncLLM:
        def __init__(self, args: AsyncEngineArgs) -> None:
            if script.start_error is not None:
                raise script.start_error
            script.args = args
            self.model_config = SimpleNamespace(
                dtype=getattr(torch, args.dtype), try_get_generation_config=lambda: {"eos_token_id": [2, 9]}
            )
            self.vllm_config = SimpleNamespace(
                scheduler_config=SimpleNamespace(max_num_seqs=args.max_num_seqs),
                parallel_config=SimpleNamespace(data_parallel_size=args.data_parallel_size),
                device_config=SimpleNamespace(device_type="cpu"),
            )
            self.slots, self.open = asyncio.Semaphore(script.slots), 0

        @classmethod
        def from_engine_args(cls, args: AsyncEngineArgs) -> "AsyncLLM":
            return cls(args)

        async def generate(
            self, inputs: dict[str, Any], params: SamplingParams, name: str, lora_request: Any = None
        ) -> AsyncIterator[Any]:
            if len(inputs["prompt_token_ids"]) >= script.refuse:
                raise ClientError("The prompt is longer than the maximum model length")
            self.open += 1
            script.most = max(script.most, self.open)
            try:
                async with self.slots:
                    script.requests.append((inputs, params, lora_request))
                    yield output(inputs, params, [5])
                    while script.hold:
                        await asyncio.sleep(0.001)
                    await asyncio.sleep(0)
                    if script.answered >= script.die_after:
                        raise DeadError("EngineCore encountered an issue")
                    script.answered += 1
                    ids = script.ids if script.ids is not None else [(params.seed or 0) % 100 + 10, 2]
                    yield output(inputs, params, ids[: params.max_tokens])
            except (asyncio.CancelledError, GeneratorExit):
                script.aborted += 1
                raise
            finally:
                self.open -= 1

        def shutdown(self) -> None:
            script.shut += 1

    def output(inputs: dict[str, Any], params: SamplingParams, ids: list[int]) -> Any:
        finish = "stop" if ids[-1] in (params.stop_token_ids or ()) else "length"
        named = params.logprob_token_ids or []
        at = {token: SimpleNamespace(logprob=-float(token)) for token in named}
        prompt = [{token: SimpleNamespace(logprob=-float(i))} for i, token in enumerate(inputs["prompt_token_ids"])]
        answer = SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=[at])
        return SimpleNamespace(
            outputs=[answer],
            prompt_logprobs=prompt if params.prompt_logprobs is not None else None,
            prompt_token_ids=inputs["prompt_token_ids"],
            num_cached_tokens=script.cached,
        )

    contents: dict[str, dict[str, Any]] = {
        "vllm": {"__version__": "0.0-fake", "SamplingParams": SamplingParams, "__path__": []},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(CUMULATIVE=0)},
        "vllm.exceptions": {"VLLMClientError": ClientError},
        "vllm.engine": {"__path__": []},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": AsyncEngineArgs},
        "vllm.lora": {"__path__": []},
        "vllm.lora.request": {"LoRARequest": lambda name, number, path: (name, number, path)},
        "vllm.v1": {"__path__": []},
        "vllm.v1.engine": {"__path__": []},
        "vllm.v1.engine.async_llm": {"AsyncLLM": AsyncLLM},
        "vllm.v1.engine.exceptions": {"EngineDeadError": DeadError, "EngineGenerateError": GenerateError},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)

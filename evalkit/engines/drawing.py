"""Engines that draw several samples of another engine for each response, and make or choose the response from them."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from evalkit.engines.base import Choices, Engine, TokenLogprobs
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

PROMPTS_AT_ONCE = 16  # sampled before one is made of their samples: a stopped run loses at most these


class DrawingEngine(ABC):
    """Implements `evalkit.engines.base.Engine`: `generate` draws and combines, all else is the sampled engine's own.

    Args:
        engine: draws the samples.
        draws: samples per response.
        temperature, top_p: of the samples, in place of the benchmark's (mostly greedy) protocol.
    """

    name: str

    def __init__(self, engine: Engine, draws: int, temperature: float, top_p: float) -> None:
        self._engine, self._draws, self._temperature, self._top_p = engine, draws, temperature, top_p
        self._stopping = False

    @abstractmethod
    def describe(self) -> Mapping[str, Json]:
        """The sampled engine's description, with what is made of the samples."""

    @abstractmethod
    def combined(self, groups: Sequence[tuple[Prompt, Sequence[Response]]]) -> Iterable[Response]:
        """One response for the samples of each group, in order."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """`sampling.n` responses per prompt, each from samples of its own."""
        self._stopping = False
        draws, n = self._draws, self._draws * sampling.n
        drawn = replace(sampling, n=n, temperature=self._temperature, top_p=self._top_p, num_beams=1)
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            if self._stopping:
                return
            some = prompts[start : start + PROMPTS_AT_ONCE]
            by_prompt: dict[str, list[Response]] = defaultdict(list)
            for response in self._engine.generate(some, drawn):
                by_prompt[response.prompt_id].append(response)
            groups: list[tuple[Prompt, Sequence[Response]]] = []
            for prompt in some:
                own = sorted(by_prompt[prompt.id], key=lambda response: response.sample)
                if len(own) == n:  # else the engine was stopped
                    groups += [(prompt, own[first : first + draws]) for first in range(0, n, draws)]
            for place, response in enumerate(self.combined(groups)):
                yield replace(response, sample=place % sampling.n)

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """The sampled engine's."""
        return self._engine.logprobs(prompts, continuations)

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """The sampled engine's: at one token there is nothing to combine."""
        return self._engine.choices(prompts, groups)

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True
        self._engine.stop()

    def close(self) -> None:
        """Close the sampled engine."""
        self._engine.close()

"""The models that play a part in a round (policy, splitter, labeler): opened when needed, let go of when they idle.

Two models on one device rarely fit; and of several processes that train together only the first one samples and labels,
so no other may load a labeler.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from evalkit.engines.base import Choices, Engine, TokenLogprobs
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

MANY = 8192  # requests given to an engine at once that has a queue of its own
FEW = 512  # to one that works through batches: a killed stage loses at most these
QUEUES = ("vllm", "openai")


class OnDemand:
    """An engine that is opened at its first use, and again at the first one after `rest`."""

    def __init__(self, open_engine: Callable[[], Engine], name: str = "engine") -> None:
        self.name = name
        self._open = open_engine
        self._engine: Engine | None = None
        self._described: Mapping[str, Json] | None = None

    def get(self) -> Engine:
        """The engine itself, opened."""
        if self._engine is None:
            self._engine = self._open()
        return self._engine

    def describe(self) -> Mapping[str, Json]:
        """See `Engine.describe`; known without opening it again."""
        if self._described is None:
            self._described = self.get().describe()
        return self._described

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """See `Engine.generate`."""
        yield from self.get().generate(prompts, sampling)

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """See `Engine.logprobs`."""
        return self.get().logprobs(prompts, continuations)

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """See `Engine.choices`."""
        return self.get().choices(prompts, groups)

    def stop(self) -> None:
        """See `Engine.stop`."""
        if self._engine is not None:
            self._engine.stop()

    def close(self) -> None:
        """Release the model; the next use opens it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def rest(role: object) -> None:
    """Let go of what a role holds, if it can be opened again."""
    if isinstance(role, OnDemand):
        role.close()
        _free_memory()
    elif (engine := getattr(role, "engine", None)) is not None:
        rest(engine)


def at_once(engine: Engine) -> int:
    """How many requests to give to an engine in one call, so that a queue does not run dry."""
    return MANY if engine.describe().get("engine") in QUEUES else FEW


def _free_memory() -> None:
    """Give the allocator's cache back, which another process or library could not use."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

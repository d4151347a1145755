"""The models that play a part in a round (policy, splitter, labeler): opened when needed, let go of when they idle.

Two models on one device rarely fit; and of several processes that train together only the first one samples and labels,
so no other may load a labeler.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from evalkit.engines.base import Choices, Engine, StreamsChoices, TokenLogprobs
from evalkit.engines.model.batching import free_memory
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

FEW = 512  # requests given at once to an engine that works through batches: a killed stage loses at most these
QUEUES = ("vllm", "openai")

T = TypeVar("T")
U = TypeVar("U")


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
        free_memory()
    elif (engine := getattr(role, "engine", None)) is not None:
        rest(engine)


def has_queue(engine: Engine) -> bool:
    """Whether an engine takes requests while it works on others, so that it idles where it is given few at a time."""
    return engine.describe().get("engine") in QUEUES


def each_choice(
    engine: Engine, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]
) -> Iterator[tuple[int, Choices]]:
    """`Engine.choices` of many prompts, (index, choices), so that little is lost if it is killed.

    An engine with a queue gets all of them at once and answers one by one; another one gets a few batches at a time.
    """
    opened = engine.get() if isinstance(engine, OnDemand) else engine
    if isinstance(opened, StreamsChoices):
        yield from opened.stream_choices(prompts, groups)
        return
    for start in range(0, len(prompts), FEW):
        yield from enumerate(opened.choices(prompts[start : start + FEW], groups), start)


def two_at_a_time(jobs: Iterator[T], work: Callable[[T], U]) -> Iterator[U]:
    """Results of jobs in the order in which they end; one job is under way while another one comes to its end."""
    with ThreadPoolExecutor(2, thread_name_prefix="evalkit-role") as pool:
        running: set[Future[U]] = {pool.submit(work, job) for job in islice(jobs, 2)}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(work, job) for job in islice(jobs, len(ended))}
            for future in ended:
                yield future.result()

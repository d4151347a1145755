"""A benchmark and engines small enough to follow by hand, for tests of the harness."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.benchmark import Benchmark
from evalkit.engines import Choices, TokenLogprobs
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import EngineError
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Json, Prompt, Response, Score


class ToyBenchmark(Benchmark):
    """Counts words that are not in the reference; "?" cannot be scored."""

    name = "toy"
    metrics = (
        Metric("wrong_words", "100 * wrong / words", higher_is_better=False, role="rate"),
        Metric("length", "words / responses", higher_is_better=None, unit="words", role="length"),
    )
    sampling = Sampling(max_new_tokens=8)

    def __init__(self, n: int = 10, variant: str = "plain") -> None:
        self.n, self.variant = n, variant

    def items(self) -> list[Item]:
        return [
            Item(str(index), f"question {index}", None, {"words": ["dog", f"w{index}"]}, {"parity": "eo"[index % 2]})
            for index in range(self.n)
        ]

    def prompt(self, item: Item) -> Prompt:
        return Prompt(item.id, item.question)

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        if "?" in response:
            return Score(None, failure="a question is not an answer")
        words = response.split()
        wrong = [word for word in words if word not in item.reference["words"]]
        findings = tuple(Finding(response.index(w), response.index(w) + len(w), "hallucinated") for w in wrong)
        return Score({"words": len(words), "wrong": len(wrong), "responses": 1}, findings)

    def settings(self) -> Mapping[str, str]:
        return {"variant": self.variant}


class ToyEngine:
    """Answers by rule, in batches, and writes each request into a log before it is answered."""

    name = "toy"

    def __init__(self, log: Path, batch: int = 4, delay_s: float = 0.0, fail: Sequence[str] = (), die_at: int = -1):
        self.log, self.batch, self.delay_s, self.fail, self.die_at = log, batch, delay_s, set(fail), die_at
        self.stopped = False

    def describe(self) -> Mapping[str, Json]:
        return {"model": "toy", "engine": "toy"}

    def requests(self) -> list[str]:
        """Ids in the order in which they were asked for, over all processes."""
        return self.log.read_text().split() if self.log.exists() else []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        for start in range(0, len(prompts), self.batch):
            if self.stopped:
                return
            if 0 <= self.die_at <= start:
                raise EngineError("the engine died")
            batch = prompts[start : start + self.batch]
            with self.log.open("a") as log:
                log.writelines(f"{prompt.id}\n" for prompt in batch)
            time.sleep(self.delay_s)
            for prompt in batch:
                for sample in range(sampling.n):
                    if prompt.id in self.fail:
                        yield Response(prompt.id, None, sample, failure="scripted failure")
                    else:
                        text = f"dog w{int(prompt.id)} cat" if int(prompt.id) % 3 else "dog"
                        yield Response(prompt.id, text, sample, "stop", tokens=len(text.split()))

    def stop(self) -> None:
        self.stopped = True

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        raise EngineError("the toy engine has no log-probabilities")

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        raise EngineError("the toy engine has no probabilities")

    def close(self) -> None:
        pass


def always_yes(model: str) -> ScriptedEngine:
    """An engine of one's own, for --engine toy:always_yes."""
    return ScriptedEngine(lambda prompt, sample: "Yes.", model)

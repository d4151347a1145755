"""Best of N: an engine that draws several responses and returns the one its aligned model likes best.

The implicit reward of a DPO-trained model, r(y) = beta log pi(y) / pi_ref(y), ranks responses without another model;
it prefers short ones, so RLAIF-V (arXiv:2405.17220) divides it by the number of response tokens.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.engines.base import Engine, TokenLogprobs
from evalkit.engines.drawing import DrawingEngine
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError, UsageError
from evalkit.schema import Json, Prompt, Response

Form = Literal["sum", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """How responses are drawn and ranked.

    n                    candidates per response; the paper's curve goes up to 64, 16 to 32 are typical
    beta                 as in training; it changes no ranking
    form                 "mean": per response token; "sum": of the whole response, favours short ones
    temperature, top_p   of the candidates, in place of the benchmark's (mostly greedy) protocol
    """

    n: int = 16
    beta: float = 0.1
    form: Form = "mean"
    temperature: float = 0.7
    top_p: float = 1.0


def implicit_reward(policy: TokenLogprobs, reference: TokenLogprobs, beta: float, form: Form) -> float:
    """beta times the log-ratio of a response, summed or per token of the policy's tokenizer; nats times beta.

    Raises:
        ValueError: if the response has no token.
    """
    if not policy.logprobs:
        raise ValueError("a response without tokens has no implicit reward")
    ratio = beta * (policy.total - reference.total)
    return ratio if form == "sum" else ratio / len(policy.logprobs)


class BestOfNEngine(DrawingEngine):
    """Returns the best of N candidates; a prompt fails if all of them failed, empty ones win only against failures.

    Args:
        engine: draws the candidates.
        policy: the aligned model; None is `engine` itself.
        reference: the model that the policy was trained from.
        settings: see `BestOfN`.
    Raises:
        UsageError: if the settings cannot rank anything.
    """

    def __init__(
        self, engine: Engine, reference: Engine, settings: BestOfN | None = None, policy: Engine | None = None
    ) -> None:
        self.settings = settings or BestOfN()
        if self.settings.n < 2 or self.settings.temperature <= 0:
            raise UsageError(
                "best of N needs at least 2 candidates and a temperature above 0; "
                f"got {self.settings.n}, {self.settings.temperature}"
            )
        super().__init__(engine, self.settings.n, self.settings.temperature, self.settings.top_p)
        self._policy, self._reference = policy or engine, reference
        self.name = f"{engine.name}, best of {self.settings.n}"

    def describe(self) -> Mapping[str, Json]:
        """The sampled engine's description, with the ranking under "best_of"."""
        own = self._engine.describe()
        ranking = {
            "n": self.settings.n,
            "beta": self.settings.beta,
            "form": self.settings.form,
            "temperature": self.settings.temperature,
            "top_p": self.settings.top_p,
            "policy": None if self._policy is self._engine else dict(self._policy.describe()),
            "reference": dict(self._reference.describe()),
        }
        return {**own, "best_of": ranking}

    def rewards(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[float]:
        """Implicit reward of each response (none failed or empty) to its prompt, by id."""
        by_id = {prompt.id: prompt for prompt in prompts}
        asked = [by_id[response.prompt_id] for response in responses]
        texts = [response.text or "" for response in responses]
        policy, reference = (engine.logprobs(asked, texts) for engine in (self._policy, self._reference))
        return [
            implicit_reward(ours, theirs, self.settings.beta, self.settings.form)
            for ours, theirs in zip(policy, reference, strict=True)
        ]

    def combined(self, groups: Sequence[tuple[Prompt, Sequence[Response]]]) -> Iterator[Response]:
        """The candidate of each group that the policy likes best."""
        ranked = [response for _, candidates in groups for response in candidates if response.text]
        prompts = {prompt.id: prompt for prompt, _ in groups}
        rewards = self.rewards(list(prompts.values()), ranked) if ranked else []
        by_key = dict(zip(map(_key, ranked), rewards, strict=True))
        for _, candidates in groups:
            yield self._choose(candidates, by_key)

    def _choose(self, candidates: Sequence[Response], rewards: Mapping[tuple[str, int], float]) -> Response:
        ranked = [response for response in candidates if _key(response) in rewards]
        if ranked:
            return ranked[best_of([rewards[_key(response)] for response in ranked])]
        return next((response for response in candidates if response.text is not None), candidates[0])

    def close(self) -> None:
        """Close all engines."""
        for engine in {id(e): e for e in (self._engine, self._policy, self._reference)}.values():
            engine.close()


def best_of_n(
    model: str | Path,
    reference: str | Path,
    *,
    n: int = 16,
    form: Form = "mean",
    temperature: float = 0.7,
    top_p: float = 1.0,
    batch_size: int = 8,
    dtype: str = "auto",
    device: str | None = None,
) -> BestOfNEngine:
    """Best of N on transformers: an aligned checkpoint ranked against the one it was trained from.

        evalkit run --engine aligners.best_of_n:best_of_n --model ALIGNED --engine-args reference=BASE,n=16 ...

    Args:
        model: the aligned checkpoint, draws and ranks.
        reference: the checkpoint it was trained from.
        n, form, temperature, top_p: see `BestOfN`.
        batch_size, dtype, device: of `TransformersEngine`, for both.
    Raises:
        EngineError: if a checkpoint cannot be loaded, or the two are the same weights.
        UsageError: if the settings cannot rank anything.
    """
    settings = BestOfN(n=n, form=form, temperature=temperature, top_p=top_p)
    aligned, frozen = (
        TransformersEngine(checkpoint, batch_size=batch_size, dtype=dtype, device=device)
        for checkpoint in (model, reference)
    )
    if aligned.describe()["content"] == frozen.describe()["content"]:
        raise EngineError(f"{model} and {reference} hold the same weights: every implicit reward is 0")
    return BestOfNEngine(aligned, frozen, settings)


def _key(response: Response) -> tuple[str, int]:
    return response.prompt_id, response.sample


def best_of(rewards: Sequence[float]) -> int:
    """Index of the highest reward, the first of equals: best-of-N selection.

    Raises:
        ValueError: if there is no candidate or a reward is NaN.
    """
    if not rewards or any(math.isnan(reward) for reward in rewards):
        raise ValueError(f"best-of-N needs at least one candidate and no NaN, got {list(rewards)}")
    return max(range(len(rewards)), key=rewards.__getitem__)

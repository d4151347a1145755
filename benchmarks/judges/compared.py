"""Benchmarks whose judge compares a reference answer with the model's: how often it is asked, and in which order.

judge_runs  the same question several times, each with a seed of its own; what they give is averaged
control     a check of the judge itself: "self" puts the reference answer on both sides, "swap" exchanges the sides
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from evalkit.benchmark import Judged, JudgeRound
from evalkit.errors import UsageError
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Score

Control = Literal["none", "self", "swap"]
MOST_RUNS = 20
SEED_STEP = 1000  # between the seeds of the judge's runs; asking again for an unreadable reply adds 1


class Compared(Judged):
    """A benchmark of this kind; `reference` of its items has "answer"."""

    judge_runs: int
    control: Control

    def ask_repeatedly(self, judge_runs: int, control: Control) -> None:
        """Set how often the judge is asked, and how it is checked.

        Raises:
            UsageError: if it would be asked less than once, or very often.
        """
        if not 1 <= judge_runs <= MOST_RUNS:
            raise UsageError(f"{self.name}.judge_runs must be between 1 and {MOST_RUNS}, got {judge_runs}")
        self.judge_runs, self.control = judge_runs, control

    @abstractmethod
    def ask(self, item: Item, first: str, second: str) -> Prompt:
        """The judge's question with these answers on its sides."""

    @abstractmethod
    def judge_sampling(self, seed: int = 0) -> Sampling:
        """Decoding settings of the judge."""

    def as_asked(self, response: str) -> str:
        """A response as it stands in the judge's question."""
        return response

    def judge_prompt(self, item: Item, response: str) -> Prompt:
        """The reference answer first, the model's second, as the authors always have it."""
        return self.ask(item, str(item.reference["answer"]), self.as_asked(response))

    def further_rounds(self) -> Sequence[JudgeRound]:
        """Further runs of the same question, then the control."""
        rounds = [_FurtherRun(self, f"run {run}", (run - 1) * SEED_STEP) for run in range(2, self.judge_runs + 1)]
        return rounds if self.control == "none" else [*rounds, _FurtherRun(self, self.control, 0)]

    def repetition(self) -> dict[str, str]:
        """What of this moves a score, for the signature."""
        runs = {"judge_runs": str(self.judge_runs)} if self.judge_runs > 1 else {}
        return runs | ({"control": self.control} if self.control != "none" else {})

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """The score of the first run alone."""
        return self.score_rounds(item, response, {} if reply is None else {"": reply})


class _FurtherRun(JudgeRound):
    """The same question once more, with another seed, or with other answers on its sides."""

    def __init__(self, benchmark: Compared, name: str, seed: int) -> None:
        self.benchmark, self.name, self.seed = benchmark, name, seed

    def prompt(
        self, item: Item, response: str, replies: Mapping[str, str], responses: Mapping[str, str]
    ) -> Prompt | None:
        """The question of this round."""
        reference, model = str(item.reference["answer"]), self.benchmark.as_asked(response)
        sides = {"self": (reference, reference), "swap": (model, reference)}.get(self.name, (reference, model))
        return self.benchmark.ask(item, *sides)

    def judge_sampling(self) -> Sampling:
        """As in the first round, with a seed of its own."""
        return self.benchmark.judge_sampling(self.seed)

    def check_reply(self, reply: str) -> str | None:
        """As in the first round."""
        return self.benchmark.check_reply(reply)

"""A task that another harness has run and scored: its log as an ordinary run, for "hallucination down, ability kept?".

Item    a line of the log; its id is a hash of question and target, so that two models' logs meet item by item
score   the mean of the log's own scores, in % where they are between 0 and 1; nothing is scored again

Harness, version and metric stand in the settings, so that runs of two harnesses are not compared unawares.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from evalkit.benchmark import Benchmark
from evalkit.formats.harness_logs import HarnessLog, LoggedSample, read_log
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Response, Score


class Logged(Benchmark):
    """A benchmark made of one log."""

    sampling = Sampling()
    metrics: Sequence[Metric] = (Metric("score", "100 * score / samples", True),)

    def __init__(
        self, log: Path, metric: str | None = None, task: str | None = None, lower_is_better: bool = False
    ) -> None:
        """Read the log.

        Args:
            log: the file, see evalkit/formats/harness_logs.py.
            metric: which of its metrics; none where there is one alone.
            task: name of the task; none to read it off the file's name.
            lower_is_better: for a rate of errors.
        """
        self.log = log
        self.read: HarnessLog = read_log(log, metric, task)
        self.name = self.read.task
        shares = all(0 <= sample.score <= 1 for sample in self.read.samples)
        formula, unit = ("100 * score / samples", "percent") if shares else ("score / samples", "points")
        name = "".join(letter if letter.isalnum() else "_" for letter in self.read.metric)
        self.metrics = (Metric(name, formula, not lower_is_better, unit=unit),)  # type: ignore[arg-type]

    @cached_property
    def _by_id(self) -> Mapping[str, LoggedSample]:
        return {sample.id: sample for sample in self.read.samples}

    def items(self) -> Sequence[Item]:
        """The lines of the log by id, whatever their order in it."""
        return [Item(s.id, s.question, None, groups=s.groups) for s in sorted(self.read.samples, key=lambda s: s.id)]

    def needs_image(self, item: Item) -> bool:
        """The images are where the other harness had them."""
        return False

    def settings(self) -> Mapping[str, str]:
        """Where the scores come from."""
        return {"harness": self.read.harness, "harness_version": self.read.version, "metric": self.read.metric}

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """The log's own score."""
        return Score({"samples": 1, "score": self._by_id[item.id].score}, details={"log": self._by_id[item.id].where})

    def responses(self) -> list[Response]:
        """The logged responses; a line without one is a failed response."""
        return [
            Response(s.id, s.text, finish="stop" if s.text is not None else None, failure=s.failure)
            for s in self.read.samples
        ]

"""One result: arms that are trained and scored alike on every base, what is claimed of them, and the verdict.

An arm is trained, its checkpoints along the way are scored, and both are kept: the same call goes on where it stopped.
A verdict compares two arms over all bases, paired by scene, with its interval.

    supported      the interval lies on the claimed side, and so does every single base
    not supported  the interval leaves no room for a difference of MARGIN points on the claimed side
    cannot tell    anything else
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

from evalkit.analysis.comparison import compare
from evalkit.analysis.standing import place
from evalkit.engines.base import Engine
from evalkit.files.atomic import replace_text
from evalkit.harness.asked import Asked
from evalkit.runs.run import Run, load_run
from evalkit.statistics.intervals import Interval
from tests.results.bench import CHAIR, Bench, pooled, pooled_front

BASE, DONE = "base", "done.json"
MARGIN = 2.0  # points of CHAIR_s: a smaller advantage is none worth claiming
Answer = Literal["supported", "not supported", "cannot tell"]


@dataclass(frozen=True)
class Site:
    """Where an arm is trained.

    base    checkpoint to begin with
    out     folder of the arm
    shared  folder of what all arms of the entry have in common on this base
    seed    of scenes, sampling and training
    """

    base: Path
    out: Path
    shared: Path
    seed: int


@dataclass(frozen=True)
class Mark:
    """What is scored of an arm: a checkpoint along the way, or an engine on one.

    step    training steps, rollouts or iterations so far
    model   checkpoint folder, or what opens an engine
    tasks   what it is scored on
    asked   another way of asking than the benchmark's own
    """

    step: int
    model: Path | Callable[[], Engine]
    tasks: Sequence[str] = (CHAIR,)
    asked: Asked | None = None


Train = Callable[[Site], Sequence[Mark]]  # the last mark is what the arm ends with


@dataclass(frozen=True)
class Verdict:
    """What comes out for one claim: `difference` in points of `measure`, negative where the claim says less.

    digits   after the point, as printed
    """

    claim: str
    measure: str
    difference: Interval
    bases: Mapping[int, float | None]
    answer: Answer
    digits: int = 1

    def line(self) -> str:
        """The verdict in one sentence, for the page."""
        shown = self.difference.text(self.digits)
        each = ", ".join(f"base {seed} {_signed(value, self.digits)}" for seed, value in self.bases.items())
        return f"**{self.answer}**: {self.claim}: {shown} {self.measure} ({each})"


def _signed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"


@dataclass(frozen=True)
class Entry:
    """A result with a name.

    hypothesis  what is claimed, and by whom
    judge       how it is decided
    arms        name -> how it is trained
    verdicts    of what was measured; None where the arms of a claim are not there yet
    quick       part of `make results`; the others belong to `make results-all`
    tables      more than the table of arms
    picture     draws what was measured into an SVG file
    neighbours  whether its bases and scenes are those whose descriptions state neighbours
    """

    name: str
    title: str
    hypothesis: str
    judge: str
    arms: Mapping[str, Train]
    verdicts: Callable[["Measured"], Sequence[Verdict | None]] = lambda measured: ()
    quick: bool = False
    tables: Callable[["Measured"], str] = lambda measured: ""
    picture: Callable[["Measured", Path], None] | None = None
    neighbours: bool = False

    def at(self, bench: Bench) -> Bench:
        """The place with this entry's bases and scenes."""
        return bench.stating_neighbours() if self.neighbours else bench


@dataclass(frozen=True)
class Measured:
    """An entry's runs: of every arm on the bases where it is finished.

    runs     arm -> seed -> step -> task -> run; the base's own under "base" at step 0
    dates    days on which arms were finished
    """

    bench: Bench
    entry: Entry
    runs: Mapping[str, Mapping[int, Mapping[int, Mapping[str, Run]]]]
    dates: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Bases on which any arm is finished."""
        return tuple(self.runs[BASE])

    def shared(self, *arms: str) -> tuple[int, ...]:
        """Bases on which all of these arms are finished."""
        return tuple(seed for seed in self.seeds if all(seed in self.runs[arm] for arm in arms))

    def last(self, arm: str, task: str = CHAIR) -> dict[int, Run]:
        """What an arm ended with, by base; empty where it was not scored on the task."""
        ends = {seed: steps[max(steps)] for seed, steps in self.runs[arm].items() if steps}
        return {seed: runs[task] for seed, runs in ends.items() if task in runs}

    def on(self, seeds: Collection[int]) -> "Measured":
        """The same on some bases alone."""
        kept = {
            arm: {seed: steps for seed, steps in by_seed.items() if seed in seeds} for arm, by_seed in self.runs.items()
        }
        return replace(self, runs=kept)

    def alike(self) -> "list[Measured]":
        """Parts whose arms are finished on the same bases, with the base there: what can stand side by side."""
        sets = dict.fromkeys(tuple(self.runs[arm]) for arm in self.entry.arms if self.runs[arm])
        return [
            replace(
                part,
                runs={
                    arm: part.runs[arm] if arm == BASE or tuple(self.runs[arm]) == seeds else {} for arm in self.runs
                },
            )
            for seeds in sets
            for part in [self.on(seeds)]
        ]

    def ends(self) -> Iterator[tuple[str, str, dict[int, Run]]]:
        """(arm, bases, what it ended with by base) of every arm, below the base on the bases that have it."""
        for part in self.alike():
            for arm in (BASE, *self.entry.arms):
                if runs := part.last(arm):
                    yield arm, ", ".join(map(str, runs)), runs

    def home(self, seed: int, arm: str) -> Path:
        """Folder of an arm."""
        return self.bench.home(self.entry.name, seed, arm)


def measure(entry: Entry, bench: Bench, seed: int, wanted: Collection[str] | None = None) -> None:
    """Train and score the arms of an entry on one base; what is finished is not done again.

    Args:
        wanted: some arms; None for all.
    """
    bench = entry.at(bench)
    for arm in unfinished(entry, bench, seed, wanted):
        home = bench.home(entry.name, seed, arm)
        print(f"{time.strftime('%H:%M:%S')} {entry.name}, base {seed}: {arm}", flush=True)
        shared = bench.folder / entry.name / f"base{seed}" / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        marks = entry.arms[arm](Site(bench.base(seed), home, shared, seed))
        for mark in marks:
            model = mark.model if isinstance(mark.model, Path) else mark.model()
            bench.score(model, home / "runs" / str(mark.step), arm, mark.tasks, mark.asked)
            for task in mark.tasks:
                bench.base_run(seed, task)
        done = {
            "marks": {str(mark.step): list(mark.tasks) for mark in marks},
            "date": str(date.today()),
        }
        replace_text(home / DONE, json.dumps(done) + "\n")


def unfinished(entry: Entry, bench: Bench, seed: int, wanted: Collection[str] | None = None) -> list[str]:
    """Arms of an entry that are still to be trained on a base, of those that are wanted."""
    arms = [arm for arm in entry.arms if wanted is None or arm in wanted]
    return [arm for arm in arms if not (bench.home(entry.name, seed, arm) / DONE).exists()]


def read(entry: Entry, bench: Bench) -> Measured | None:
    """What has been measured of an entry; None if none of its arms is finished on any base."""
    bench = entry.at(bench)
    runs: dict[str, dict[int, dict[int, dict[str, Run]]]] = {BASE: {}} | {arm: {} for arm in entry.arms}
    dates: set[str] = set()
    for seed in bench.seeds:
        tasks: set[str] = set()
        for arm in entry.arms:
            path = bench.home(entry.name, seed, arm) / DONE
            if not path.exists():
                continue
            done = json.loads(path.read_text())
            dates.add(done["date"])
            runs[arm][seed] = {
                int(step): {task: load_run(path.parent / "runs" / step / task) for task in scored}
                for step, scored in done["marks"].items()
            }
            tasks |= {task for scored in done["marks"].values() for task in scored}
        if any(seed in runs[arm] for arm in entry.arms) or not entry.arms:
            runs[BASE][seed] = {0: {task: bench.base_run(seed, task) for task in tasks}}
    return Measured(bench, entry, runs, tuple(sorted(dates))) if runs[BASE] else None


# --- verdicts -----------------------------------------------------------------------------------------------------


def at_equal_recall(measured: Measured, claim: str, better: str, worse: str, margin: float = MARGIN) -> Verdict | None:
    """Whether one arm hallucinates less than another at equal recall, in CHAIR_s; None without a base that has both.

    The arm that says more is cut short until it says as much as the other, along its own truncation front: what is left
    of the difference no way of stopping earlier explains.
    """
    seeds = measured.shared(better, worse)
    if not seeds:
        return None
    first, second = ({seed: measured.last(arm)[seed] for seed in seeds} for arm in (better, worse))
    values = {seed: _cut({seed: first[seed]}, {seed: second[seed]}).value for seed in seeds}
    total = _cut(first, second)
    return Verdict(claim, "points of CHAIR_s at equal recall", total, values, answer(total, values, margin))


def _cut(first: Mapping[int, Run], second: Mapping[int, Run]) -> Interval:
    """First minus second, CHAIR_s, the one with more recall cut short."""
    a, b = pooled(first, "first"), pooled(second, "second")
    recall = [run.intervals(resamples=200)["recall"].value or 0.0 for run in (a, b)]
    if recall[0] <= recall[1]:
        (placed,) = place(pooled_front(second), "second", {"first": a})
        return placed.headline.positions[0].difference
    (placed,) = place(pooled_front(first), "first", {"second": b})
    return negated(placed.headline.positions[0].difference)


def paired_difference(
    measured: Measured, claim: str, better: str, worse: str, metric: str, margin: float = MARGIN
) -> Verdict | None:
    """Whether a metric is lower in one arm than in another, paired by scene; None without a base that has both."""
    seeds = measured.shared(better, worse)
    if not seeds:
        return None
    first, second = (measured.last(arm) for arm in (better, worse))

    def difference(of: Collection[int]) -> Interval:
        pair = [pooled({seed: runs[seed] for seed in of}, name) for name, runs in ((worse, second), (better, first))]
        (effect,) = compare(*pair, metrics=[metric], groups=False).pairs[0].effects
        return effect.difference

    total, each = difference(seeds), {seed: difference([seed]).value for seed in seeds}
    return Verdict(claim, f"points of {metric}", total, each, answer(total, each, margin))


def negated(interval: Interval) -> Interval:
    """The same difference the other way round."""
    turned = [None if value is None else -value for value in (interval.value, interval.high, interval.low)]
    return Interval(*turned)


def answer(total: Interval, bases: Mapping[int, float | None], margin: float = MARGIN) -> Answer:
    """See the module; a claim says that the difference is negative.

    >>> answer(Interval(-5.0, -8.0, -2.0), {0: -4.0, 1: -6.0})
    'supported'
    >>> answer(Interval(-5.0, -8.0, -2.0), {0: 1.0, 1: -11.0}), answer(Interval(0.5, -1.0, 2.0), {0: 0.5})
    ('cannot tell', 'not supported')
    """
    if total.low is None or total.high is None:
        return "cannot tell"
    if total.high < 0 and all(value is not None and value < 0 for value in bases.values()):
        return "supported"
    return "not supported" if total.low > -margin else "cannot tell"


def no_worse(measured: Measured, claim: str, tested: str, reference: str, margin: float = MARGIN) -> Verdict | None:
    """Whether one arm hallucinates no more than another at equal recall: at most `margin` points of CHAIR_s more.

    Supported if the interval ends below the margin, not supported if it begins above 0.
    """
    verdict = at_equal_recall(measured, claim, tested, reference, margin)
    if verdict is None:
        return None
    low, high = verdict.difference.low, verdict.difference.high
    said: Answer = "cannot tell"
    if low is not None and high is not None:
        said = "supported" if high < margin else "not supported" if low > 0 else "cannot tell"
    return replace(verdict, answer=said)

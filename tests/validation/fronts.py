"""Does "beyond the base's front" mean what it says? Runs that are a simulated base cut short, and one that is better.

    python -m tests.validation.fronts --data-sets 200      a quick look

A simulated response has 3 to 8 sentences of 8 to 25 words and up to three mentions in each. Later sentences name fewer
new objects and more that are not there; images differ in how much is made up about them. From each base six runs are
made without a model: cut after four sentences, cut after 45 words, cut after 1 to 8 sentences at random, after three or
four at random; and the same responses without half, and without a sixth, of the hallucinated mentions. Only the last
two are an improvement.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array, Metric
from evalkit.statistics.fronts import Path, Standing, positions

SIZES = (100, 300, 1000)
DATA_SETS = 2000
RESAMPLES = 1000
RESPONSES_PER_IMAGE = 3  # in the clustered cases
SENTENCES = 8
SLOTS = 3  # places for a mention in each sentence
OBJECTS = 6
WORD_CUTS = tuple(range(0, 201, 10))  # coarser than what is measured: beyond is easier to reach
ONE_SIDED = 0.025  # promised: a truncation is called beyond its base no more often
ERROR = 0.0035  # of a share of 2.5 % seen in 2,000 data sets
TOGETHER = (0.04, 0.06)  # promised: beyond and behind the sentence front, for three or four sentences at random
POWER_SLACK = 0.03  # promised: foretold power against the power seen

NAMES = ("bad", "responses", "covered", "reference")
CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
RECALL = Metric("recall", "100 * covered / reference", higher_is_better=True)
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Responses:
    """Mentions of n simulated responses; the second axis is their place in the text, SENTENCES * SLOTS of them.

    said     is there a mention
    wrong    of an object that is not in the image
    object   else of which reference object, a number below `present`
    word     after how many words
    present  reference objects of the image
    """

    said: Flags
    wrong: Flags
    object: NDArray[np.int64]
    word: NDArray[np.int64]
    present: NDArray[np.int64]

    def counts(self, kept: Flags) -> Array:
        """Counts of the responses of which some mentions are left, shape (n, counts)."""
        kept = kept & self.said
        bad = (kept & self.wrong).any(axis=1)
        right = kept & ~self.wrong
        covered = sum((right & (self.object == index)).any(axis=1).astype(float) for index in range(OBJECTS))
        return np.stack([bad.astype(float), np.ones(len(bad)), covered, self.present.astype(float)], axis=1)


PLACE = np.repeat(np.arange(SENTENCES), SLOTS)  # the sentence of every place


def simulate(rng: np.random.Generator, n: int, per_image: int) -> Responses:
    """n responses, `per_image` of each image."""
    images = n // per_image
    present = np.repeat(rng.integers(2, OBJECTS + 1, images), per_image)
    hard = np.repeat(rng.gamma(1.2, 1 / 1.2, images), per_image)[:, None]
    length = rng.integers(3, SENTENCES + 1, n)[:, None]
    said = (length > PLACE) & (rng.random((n, len(PLACE))) < 0.55)
    wrong = rng.random((n, len(PLACE))) < np.minimum(0.9, hard * (0.02 + 0.035 * PLACE))
    # early places speak of the first objects, later ones of any: new objects become rare
    named = np.floor(rng.beta(1.0, 3.0 - 0.25 * PLACE, (n, len(PLACE))) * present[:, None]).astype(np.int64)
    words = rng.integers(8, 26, (n, SENTENCES))
    start = np.cumsum(words, axis=1) - words
    word = start[:, PLACE] + 1 + np.floor(rng.random((n, len(PLACE))) * words[:, PLACE]).astype(np.int64)
    return Responses(said, wrong, named, word, present)


def runs_of(base: Responses, rng: np.random.Generator) -> dict[str, Array]:
    """Counts of what can be made of a base, shape (n, counts) each."""
    n = len(base.said)
    uneven, either = rng.integers(1, SENTENCES + 1, n), rng.integers(3, 5, n)
    drawn = rng.random(base.wrong.shape)
    return {
        "4 sentences": base.counts(np.broadcast_to(PLACE < 4, base.said.shape)),
        "45 words": base.counts(base.word <= 45),
        "1 to 8 sentences": base.counts(uneven[:, None] > PLACE),
        "3 or 4 sentences": base.counts(either[:, None] > PLACE),
        "without half": base.counts(~(base.wrong & (drawn < 1 / 2))),
        "without a sixth": base.counts(~(base.wrong & (drawn < 1 / 6))),
    }


def fronts_of(base: Responses) -> list[Path]:
    """Both fronts of a base."""
    by_sentence = [base.counts(np.broadcast_to(k > PLACE, base.said.shape)) for k in range(SENTENCES + 1)]
    by_word = [base.counts(base.word <= k) for k in WORD_CUTS]
    return [Path("sentences", np.stack(by_sentence, axis=1)), Path("words", np.stack(by_word, axis=1))]


def clustered(counts: Array, per_image: int) -> Array:
    """Counts summed over the responses of an image."""
    return counts.reshape(-1, per_image, *counts.shape[1:]).sum(axis=1)


def trial(rng: np.random.Generator, items: int, per_image: int, seed: int) -> dict[str, Standing]:
    """One data set: where every run stands beside the base's two fronts."""
    base = simulate(rng, items // per_image * per_image, per_image)
    paths = [Path(path.name, clustered(path.counts, per_image)) for path in fronts_of(base)]
    runs = {name: clustered(counts, per_image) for name, counts in runs_of(base, rng).items()}
    others = list(runs.values())
    found = positions([CHAIR_S], RECALL, NAMES, paths, others, items, 0.95, RESAMPLES, "expanded", seed)
    return {name: standings[0] for name, standings in zip(runs, found, strict=True)}


@dataclass
class Tally:
    """How often each verdict fell in `trials` data sets."""

    trials: int = 0
    beyond: int = 0
    behind: int = 0
    below: int = 0  # the interval of the sentence front alone lies below 0
    foretold: float = 0.0
    difference: float = 0.0

    def add(self, standing: Standing, truth: float | None) -> None:
        verdict, first = standing.verdict, standing.positions[0]
        self.trials += 1
        self.beyond += verdict == "beyond"
        self.behind += verdict == "behind"
        self.below += first.difference.high is not None and first.difference.high < 0
        self.difference += first.difference.value or 0.0
        if truth is not None:
            self.foretold += first.power.chance(truth) or 0.0

    def share(self, name: str) -> float:
        return float(getattr(self, name)) / self.trials


def tallies(items: int, per_image: int, data_sets: int, seed: int = 2) -> dict[str, Tally]:
    """Verdicts on every kind of run."""
    rng = np.random.default_rng([seed, items, per_image])
    found: dict[str, Tally] = {}
    truth = true_gains(per_image)
    for index in range(data_sets):
        for name, place in trial(rng, items, per_image, index).items():
            found.setdefault(name, Tally()).add(place, truth.get(name))
    return found


PROMISED = "without half"
IMPROVED = (PROMISED, "without a sixth")  # of the second only a few responses change, all for the better


def true_gains(per_image: int) -> dict[str, float]:
    """The differences of the runs without some hallucinated mentions, from 300,000 responses."""
    rng = np.random.default_rng(97)
    base = simulate(rng, 300_000, per_image)
    runs = runs_of(base, rng)
    whole = _chair_s(base.counts(np.ones_like(base.said)))
    return {name: _chair_s(runs[name]) - whole for name in IMPROVED}


def _chair_s(counts: Array) -> float:
    value = CHAIR_S.value(dict(zip(NAMES, counts.sum(axis=0).tolist(), strict=True)))
    assert value is not None
    return value


def lines(data_sets: int) -> Iterator[str]:
    """The table, as Markdown; "(!)" marks what breaks a promise."""
    yield "| run | n | per image | difference | beyond | behind | beyond or behind by sentences | power foretold |"
    yield "|---|---|---|---|---|---|---|---|"
    for per_image in (1, RESPONSES_PER_IMAGE):
        for items in SIZES:
            for name, tally in tallies(items, per_image, data_sets).items():
                yield _line(name, items, per_image, tally)


def _line(name: str, items: int, per_image: int, tally: Tally) -> str:
    beyond, behind, together = (
        tally.share("beyond"),
        tally.share("behind"),
        tally.share("below") + tally.share("behind"),
    )
    foretold = tally.share("foretold")
    shown, both, power = f"{100 * beyond:.1f} %", "-", "-"
    if name in IMPROVED:
        broken = name == PROMISED and abs(beyond - foretold) > POWER_SLACK
        power = f"{100 * foretold:.1f} %" + (" (!)" if broken else "")
    elif beyond > ONE_SIDED + 2 * ERROR:
        shown += " (!)"
    if name == "3 or 4 sentences":
        both = f"{100 * together:.1f} %" + ("" if TOGETHER[0] <= together <= TOGETHER[1] else " (!)")
    value = tally.share("difference")
    return f"| {name} | {items} | {per_image} | {value:+.2f} | {shown} | {100 * behind:.1f} % | {both} | {power} |"


def main(data_sets: int = DATA_SETS) -> bool:
    """Print the table; whether every promise was kept."""
    kept = True
    for line in lines(data_sets):
        print(line, flush=True)
        kept = kept and "(!)" not in line
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=DATA_SETS)
    sys.exit(0 if main(parser.parse_args().data_sets) else 1)

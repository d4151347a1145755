"""Annotation artifacts: how much of a preference can be told from the texts alone, and by what.

If a classifier that sees neither image nor prompt knows which response was preferred, a model may learn its cues
instead of looking. Such shortcuts were found in VLFeedback, POVID and RLHF-V (Li et al., ICML 2025, arXiv:2503.03122);
the idea is the hypothesis-only baseline of natural language inference (Poliak et al. 2018; Gururangan et al. 2018,
"annotation artifacts").

The classifier is linear in the difference of the two responses' features (a Bradley-Terry model, so that the order of
the two tells nothing) and is fitted by logistic regression with a ridge penalty. Every pair is predicted by a model
that saw no pair of its image or prompt. The pairs it gets wrong are the *hard subset*: what a model gets right there,
it did not get from these cues.

    words   which words a response has, and which two words in a row
    places  words in the first, the second and the last third of a response, its first and its last word
    length  words, characters and sentences
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aligners.preference.pairs import Pair
from evalkit.errors import DataError
from evalkit.metrics import Array, Metric
from evalkit.statistics.intervals import Interval, interval
from evalkit.text.cuts import sentence_ends

Cue = Literal["words", "places", "length"]
CUES: tuple[Cue, ...] = get_args(Cue)
FOLDS = 5
FEWEST = 20  # pairs; below, five folds say nothing
FEWEST_USES = 3  # pairs in which a feature must differ; rarer ones tell nothing about other pairs
PENALTY = 10.0  # ridge, per feature; features differ by 0 or 1 as a rule
LENGTH_SCALE = 8.0  # lengths differ by little: 10 % more words are 0.1 in the logarithm
STEPS, TOLERANCE = 30, 1e-2  # of the fit; a margin's sign needs no more
# Folds share their training pairs, so that the held-out accuracy varies more than its pairs say: the variance is
# 1/folds + test/training of one fold's, not 1/folds (Nadeau and Bengio 2003).
WIDENED = math.sqrt(1 + FOLDS / (FOLDS - 1))
TELLING = 12

ACCURACY = Metric("accuracy", "100 * right / pairs", higher_is_better=None)
_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Telling:
    """A feature that tells.

    feature  a word, "first word: no", "last third: table", "words per response", ...
    weight   above 0: speaks for chosen
    chosen, rejected  share of responses that have it, in percent; of words and characters the geometric mean
    """

    feature: str
    weight: float
    chosen: float
    rejected: float


@dataclass(frozen=True)
class Artifacts:
    """What text alone knows.

    pairs      how many were read
    accuracy   of the classifier with all cues, on held-out pairs, percent; 50 is chance
    by_cue     of classifiers with one kind of cue each
    longer     pairs in which the longer response (in words) is the chosen one, percent; equal lengths count half
    telling    the features that tell most, strongest first
    hard       ids of the pairs that all cues together get wrong or leave open
    """

    pairs: int
    accuracy: Interval
    by_cue: Mapping[Cue, Interval]
    longer: Interval
    telling: tuple[Telling, ...]
    hard: frozenset[str]

    @property
    def found(self) -> bool:
        """Whether text alone is surely better than chance."""
        return self.accuracy.low is not None and self.accuracy.low > 50


def find_artifacts(pairs: Sequence[Pair]) -> Artifacts:
    """Fit and test the classifier on pairs whose responses are not empty.

    Raises:
        DataError: if there are too few pairs.
    """
    if len(pairs) < FEWEST:
        raise DataError(f"artifacts are looked for in at least {FEWEST} pairs; there are {len(pairs)}")
    groups = [pair.image or pair.prompt for pair in pairs]
    folds = np.array([_fold(group) for group in groups])
    margins = {cue: _held_out(_table(pairs, (cue,)), folds) for cue in CUES}
    table = _table(pairs, CUES)
    overall = _held_out(table, folds)
    by_cue = {cue: _accuracy(margin, groups) for cue, margin in margins.items()}
    difference = np.array([len(_tokens(p.chosen)) - len(_tokens(p.rejected)) for p in pairs], dtype=float)
    return Artifacts(
        len(pairs),
        _accuracy(overall, groups),
        by_cue,
        _accuracy(difference, groups, widened=False),
        _telling(table),
        frozenset(pair.id for pair, margin in zip(pairs, overall, strict=True) if margin <= 0),
    )


def _accuracy(margins: Array, groups: Sequence[str], widened: bool = True) -> Interval:
    rows = [{"right": 1.0 if m > 0 else 0.5 if m == 0 else 0.0, "pairs": 1.0} for m in margins.tolist()]
    accuracy = interval(ACCURACY, rows, groups)
    if not widened or accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return accuracy
    low, high = (accuracy.value + WIDENED * (limit - accuracy.value) for limit in (accuracy.low, accuracy.high))
    return Interval(accuracy.value, max(0.0, low), min(100.0, high), accuracy.method)


def _fold(group: str) -> int:
    """Pairs of one image or prompt share a fold; which one depends on nothing else in the file."""
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()[0] % FOLDS


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def features(text: str, cues: Iterable[Cue] = CUES) -> dict[str, float]:
    """Features of one response.

    >>> features("No dog.", ["words"])
    {'no': 1.0, 'dog': 1.0, '.': 1.0, 'no dog': 1.0, 'dog .': 1.0}
    """
    tokens = _tokens(text)
    values: dict[str, float] = {}
    if "words" in cues:
        values |= dict.fromkeys([*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))], 1.0)
    if "places" in cues and tokens:
        values |= {f"first word: {tokens[0]}": 1.0, f"last word: {_last_word(tokens)}": 1.0}
        for index, token in enumerate(tokens):
            values[f"{('first', 'second', 'last')[3 * index // len(tokens)]} third: {token}"] = 1.0
    if "length" in cues:
        values["length: words"] = LENGTH_SCALE * math.log1p(len(tokens))
        values["length: characters"] = LENGTH_SCALE * math.log1p(len(text))
        values["length: sentences"] = float(len(sentence_ends(text)))
    return values


def _last_word(tokens: Sequence[str]) -> str:
    return next((token for token in reversed(tokens) if token[0].isalnum()), tokens[-1])


@dataclass(frozen=True)
class _Table:
    """Differences of features, chosen minus rejected, as a sparse matrix: entries (row, column, value)."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    values: Array
    names: tuple[str, ...]
    pairs: int
    means: tuple[Mapping[str, float], Mapping[str, float]]  # of chosen and rejected responses

    def times(self, weights: Array) -> Array:
        """Matrix times weights: one margin per pair."""
        return _binned(self.rows, self.values * weights[self.columns], self.pairs)

    def transposed_times(self, values: Array) -> Array:
        """Transposed matrix times one value per pair."""
        return _binned(self.columns, self.values * values[self.rows], len(self.names))


def _binned(places: NDArray[np.intp], values: Array, length: int) -> Array:
    """Sum of the values at each place."""
    sums: Array = np.bincount(places, values, length).astype(float)
    return sums


def _table(pairs: Sequence[Pair], cues: Sequence[Cue]) -> _Table:
    uses: Counter[str] = Counter()
    totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    differences: list[dict[str, float]] = []
    for pair in pairs:
        chosen, rejected = features(pair.chosen, cues), features(pair.rejected, cues)
        totals[0].update(chosen)
        totals[1].update(rejected)
        row = {
            name: value
            for name in {**chosen, **rejected}
            if (value := chosen.get(name, 0.0) - rejected.get(name, 0.0)) != 0
        }
        differences.append(row)
        uses.update(row.keys())
    names = tuple(name for name, count in uses.items() if count >= FEWEST_USES)
    index = {name: column for column, name in enumerate(names)}
    entries = [
        (row, index[name], value)
        for row, difference in enumerate(differences)
        for name, value in difference.items()
        if name in index
    ]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    means = tuple({name: total[name] / len(pairs) for name in names} for total in totals)
    return _Table(
        np.array(rows, dtype=np.intp),
        np.array(columns, dtype=np.intp),
        np.array(values, dtype=float),
        names,
        len(pairs),
        (means[0], means[1]),
    )


def _held_out(table: _Table, folds: NDArray[np.intp]) -> Array:
    """The margin of every pair by a model that was fitted to the other folds; 0 where nothing could be learnt."""
    margins = np.zeros(table.pairs)
    for fold in range(FOLDS):
        test = folds == fold
        if test.any() and not test.all():
            margins[test] = table.times(_fit(table, ~test))[test]
    return margins


def _fit(table: _Table, used: NDArray[np.bool_]) -> Array:
    """Weights of the ridge-penalised logistic regression of "chosen comes first" on the differences of some pairs.

    Newton steps, each solved by conjugate gradients, so that the matrix stays sparse.
    """
    weights = np.zeros(len(table.names))
    own = used.astype(float)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-table.times(weights)))
        gradient = table.transposed_times(own * (1 - chance)) - PENALTY * weights
        if np.abs(gradient).max(initial=0.0) < TOLERANCE:
            break
        weights = weights + _solve(table, own * chance * (1 - chance), gradient)
    return weights


def _solve(table: _Table, curvature: Array, gradient: Array) -> Array:
    """Conjugate gradients for (X' diag(curvature) X + PENALTY) step = gradient."""
    step = np.zeros_like(gradient)
    residual, direction = gradient.copy(), gradient.copy()
    size = float(residual @ residual)
    enough = TOLERANCE * size
    for _ in range(STEPS):
        if size <= enough:
            break
        product = table.transposed_times(curvature * table.times(direction)) + PENALTY * direction
        length = size / float(direction @ product)
        step = step + length * direction
        residual = residual - length * product
        before, size = size, float(residual @ residual)
        direction = residual + size / before * direction
    return step


def _telling(table: _Table) -> tuple[Telling, ...]:
    """The features with the largest weights in a model of all pairs, each weighed by how much it varies."""
    if not table.names:
        return ()
    weights = _fit(table, np.ones(table.pairs, dtype=bool))
    spread = np.sqrt(np.bincount(table.columns, table.values**2, len(table.names)) / table.pairs)
    order = np.argsort(-np.abs(weights) * spread, kind="stable")[:TELLING]
    chosen, rejected = table.means
    tells = []
    for column in order.tolist():
        name = table.names[column]
        tells.append(Telling(name, float(weights[column]), _shown(name, chosen[name]), _shown(name, rejected[name])))
    return tuple(tells)


def _shown(name: str, mean: float) -> float:
    """The mean of a feature as it is printed."""
    if name == "length: sentences":
        return mean
    return math.expm1(mean / LENGTH_SCALE) if name.startswith("length: ") else 100 * mean

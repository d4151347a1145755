"""Training of the averaged perceptron tagger (Honnibal 2013), whose inference is evalkit/text/tagger.py.

Every word is guessed from its 14 features; where the guess is wrong, the features' weights move by one towards the
right tag and away from the guessed one. The weights that are kept are the means over all steps, to three decimals.
Words that are frequent and nearly always tagged alike go into a dictionary and are not guessed.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from evalkit.miniature.language.sentences import Tagged
from evalkit.text.tagger import END, START, features_of, normalize

FREQUENT, ALIKE = 20, 0.97  # the thresholds of NLTK's dictionary


@dataclass(frozen=True)
class TaggerModel:
    """What NLTK stores of a tagger: feature -> tag -> weight; word -> its only tag; all tags."""

    weights: dict[str, dict[str, float]]
    tagdict: dict[str, str]
    classes: list[str]


class _Perceptron:
    """Weights with their sums over time, so that the mean needs no pass over all of them at every step."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = sorted(classes)
        self.weights: dict[str, dict[str, float]] = defaultdict(dict)
        self._sums: dict[tuple[str, str], float] = defaultdict(float)
        self._changed: dict[tuple[str, str], int] = defaultdict(int)
        self.steps = 0

    def predict(self, names: Sequence[str]) -> str:
        scores = dict.fromkeys(self.classes, 0.0)
        for name in names:
            for label, weight in self.weights.get(name, {}).items():
                scores[label] += weight
        return max(self.classes, key=lambda label: (scores[label], label))

    def learn(self, truth: str, guess: str, names: Sequence[str]) -> None:
        self.steps += 1
        if truth != guess:
            for name in names:
                self._move(name, truth, 1.0)
                self._move(name, guess, -1.0)

    def _move(self, name: str, label: str, by: float) -> None:
        key, weight = (name, label), self.weights[name].get(label, 0.0)
        self._sums[key] += (self.steps - self._changed[key]) * weight
        self._changed[key] = self.steps
        self.weights[name][label] = weight + by

    def means(self) -> dict[str, dict[str, float]]:
        means: dict[str, dict[str, float]] = {}
        for name, labels in self.weights.items():
            rows = {label: round(self._mean(name, label), 3) for label in labels}
            if kept := {label: mean for label, mean in rows.items() if mean}:
                means[name] = kept
        return means

    def _mean(self, name: str, label: str) -> float:
        key = (name, label)
        return (self._sums[key] + (self.steps - self._changed[key]) * self.weights[name][label]) / self.steps


def train_tagger(sentences: Sequence[Tagged], epochs: int, rng: Random) -> TaggerModel:
    """A tagger fitted to tagged sentences; the same sentences and seed give the same weights.

    Args:
        sentences: (word, tag) in order, at least one.
        epochs: passes over all of them, shuffled between passes.
    """
    classes = sorted({tag for sentence in sentences for _, tag in sentence})
    tagdict, model, order = _dictionary(sentences), _Perceptron(classes), list(sentences)
    for _ in range(epochs):
        for sentence in order:
            _learn_sentence(model, sentence, tagdict)
        rng.shuffle(order)
    return TaggerModel(model.means(), tagdict, classes)


def _dictionary(sentences: Sequence[Tagged]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        for word, tag in sentence:
            counts[word][tag] += 1
    frequent = {}
    for word, tags in counts.items():
        (tag, often), total = tags.most_common(1)[0], tags.total()
        if total >= FREQUENT and often / total >= ALIKE:
            frequent[word] = tag
    return frequent


def _learn_sentence(model: _Perceptron, sentence: Tagged, tagdict: dict[str, str]) -> None:
    words = [word for word, _ in sentence]
    context = [*START, *map(normalize, words), *END]
    previous, before = START[0], START[1]
    for index, (word, truth) in enumerate(sentence):
        guess = tagdict.get(word)
        if guess is None:
            left2, left, here, right, right2 = context[index : index + 5]
            names = features_of(word, here, left, left2, right, right2, previous, before)
            guess = model.predict(names)
            model.learn(truth, guess, names)
        previous, before = guess, previous

"""The averaged perceptron tagger (Honnibal 2013, as shipped with NLTK): inference only, same weights, same tags.

Each tag is the class with the largest sum of weights over 14 features of the word, its neighbours within two
positions and the two tags before it. The weights are kept as one row per feature; the part that depends on words
alone is summed once per word and position and remembered. NLTK adds the weights in a fixed order, so two classes
that tie but for rounding are decided by that order: such near-ties are summed again exactly as NLTK does.

Where only a question about the tag matters ("noun or verb, or something else?"), the words often answer it whatever the
two tags before are: `answers_at` bounds what these tags can add to any class and predicts them only where they decide.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]

START = ("-START-", "-START2-")
END = ("-END-", "-END2-")
Answers = tuple[tuple[str, str], ...]  # (first letter of a tag, answer), at last ("", answer) for all others
NEAR_TIE = 1e-6  # weights are multiples of 0.001; float noise of a sum is far below
CACHE_LIMIT = 200_000


class PerceptronTagger:
    """Tags words; build it with `load`."""

    def __init__(
        self, weights: Mapping[str, Mapping[str, float]], tagdict: Mapping[str, str], classes: Sequence[str]
    ) -> None:
        # NLTK takes the alphabetically last of equal classes; argmax takes the first of equal entries
        self.classes = sorted(classes, reverse=True)
        self.weights = weights
        self.tagdict = tagdict
        self._column = {label: index for index, label in enumerate(self.classes)}
        self._rows = {kind: _Rows(features, self._sum) for kind, features in _GROUPS.items()}
        self._weights = _FeatureRows(self._row)
        self._answers: dict[Answers, tuple[str, ...]] = {}
        self._margins: dict[tuple[str | None, str, int, Answers], Row] = {}
        self._lead: dict[tuple[str, int], Row] = {}
        self._before: dict[str, Row] = {}  # tag -> what it and every tag before it add, shape (tags, classes)
        self._normal = _NormalForms()

    @classmethod
    def load(cls, folder: Any) -> "PerceptronTagger":
        """Read the three JSON files of NLTK's averaged_perceptron_tagger_eng.

        Args:
            folder: nltk.data.find("taggers/averaged_perceptron_tagger_eng/"), a path pointer (folder or zip).
        """

        def read(name: str) -> Any:
            with folder.join(f"averaged_perceptron_tagger_eng.{name}.json").open(encoding="utf-8") as file:
                return json.load(file)

        return cls(read("weights"), read("tagdict"), read("classes"))

    def tag(self, words: Sequence[str]) -> list[str]:
        """Tags of all words, in order."""
        return self._run(words, 0, len(words), START[0], START[1])

    def tag_at(self, words: Sequence[str], positions: Sequence[int]) -> list[str]:
        """Tags at ascending positions.

        Two words in a row whose tags are fixed by the tag dictionary cut the chain of dependence, so tagging may
        start behind them.
        """
        tags: list[str] = []
        done = 0  # words[start:done] have been tagged into `known`, known[-2:] are the last two tags
        known: list[str] = []
        for position in positions:
            start = self._start(words, position, done)
            if start > done or not known:
                known = [self._fixed(words, start - 2), self._fixed(words, start - 1)]
                done = start
            known += self._run(words, done, position + 1, known[-1], known[-2])
            done = position + 1
            tags.append(known[-1])
        return tags

    def answers_at(self, words: Sequence[str], asked: Sequence[tuple[int, Answers]]) -> list[str]:
        """What the tags at ascending positions answer, each to a question of its own.

        Args:
            asked: position, and the answers to its question: pairs (first letter of the tag, answer), then one pair
                ("", answer) for all other tags.
        """
        answers = [self._by_words(words, position, question) for position, question in asked]
        open_ = [index for index, answer in enumerate(answers) if answer is None]
        tags = self.tag_at(words, [asked[index][0] for index in open_])
        for index, tag in zip(open_, tags, strict=True):
            answers[index] = _answer(asked[index][1], tag)
        return [answer for answer in answers if answer is not None]

    def _by_words(self, words: Sequence[str], index: int, question: Answers) -> str | None:
        """The answer that holds whatever stands before; None if the tags before may change it."""
        if words[index] in self.tagdict:
            return _answer(question, self.tagdict[words[index]])
        here, scores = self._word_scores(words, index)
        if scores is _NO_ROW:
            return None
        best = int(scores.argmax())
        previous = self._fixed(words, index - 1) if self._is_fixed(words, index - 1) else None
        margin = self._margins.get((previous, here, best, question))
        if margin is None:
            if len(self._margins) >= CACHE_LIMIT:
                self._margins.clear()
            margin = self._margin(previous, here, best, question)
            self._margins[previous, here, best, question] = margin
        return self._answers[question][best] if (scores + margin).max() < scores[best] - NEAR_TIE else None

    def _margin(self, previous: str | None, here: str, best: int, question: Answers) -> Row:
        """The most that the tags before add to each class more than to `best`; -inf where the answer is the same."""
        answers = self._answers.get(question)
        if answers is None:
            answers = self._answers[question] = tuple(_answer(question, label) for label in self.classes)
        tags = (*self.classes, *START) if previous is None else (previous,)
        gains = [self._leads(tag, best) for tag in tags] if previous is not None else [self._any_lead(best)]
        for tag in tags:
            feature = f"i-1 tag+i word {tag} {here}"
            if feature in self.weights:
                pair = self._weights[feature]
                gains.append(self._leads(tag, best) + (pair - pair[best]))
        if previous is not None:
            gains = gains[-1:]
        same = np.array([answer == answers[best] for answer in answers])
        return np.where(same, -np.inf, np.max(gains, axis=0) if len(gains) > 1 else gains[0])

    def _any_lead(self, best: int) -> Row:
        """The most that any two tags before add to each class more than to `best`, without the word's own part."""
        lead = self._lead.get(("", best))
        if lead is None:
            lead = np.max([self._leads(tag, best) for tag in (*self.classes, *START)], axis=0)
            self._lead["", best] = lead
        return lead

    def _leads(self, previous: str, best: int) -> Row:
        """The most that a tag before, and any tag before it, add to each class more than to `best`."""
        lead = self._lead.get((previous, best))
        if lead is None:
            sums = self._before.get(previous)
            if sums is None:
                rows = [self._sum(_tag_features(previous, before)) for before in (*self.classes, *START)]
                sums = self._before[previous] = np.stack([np.broadcast_to(row, len(self.classes)) for row in rows])
            lead = self._lead[previous, best] = (sums - sums[:, best : best + 1]).max(0)
        return lead

    def _start(self, words: Sequence[str], position: int, done: int) -> int:
        """The last place at or before `position` from which tagging depends on nothing before it, at least `done`."""
        start = position
        while start > done and not (self._is_fixed(words, start - 1) and self._is_fixed(words, start - 2)):
            start -= 1
        return start

    def _is_fixed(self, words: Sequence[str], index: int) -> bool:
        return index < 0 or words[index] in self.tagdict

    def _fixed(self, words: Sequence[str], index: int) -> str:
        return START[-1 - index] if index < 0 else self.tagdict[words[index]]

    def _run(self, words: Sequence[str], start: int, stop: int, previous: str, before: str) -> list[str]:
        """Tags of words[start:stop], given the tags of the two words before."""
        tags: list[str] = []
        for index in range(start, stop):
            tag = self.tagdict.get(words[index])
            if not tag:
                tag = self._predict(words, index, previous, before)
            tags.append(tag)
            before, previous = previous, tag
        return tags

    def _predict(self, words: Sequence[str], index: int, previous: str, before: str) -> str:
        here, scores = self._word_scores(words, index)
        rows = self._rows
        scores = scores + rows["tags"][previous, before]
        pair = rows["tag word"][previous, here]
        if pair is not _NO_ROW:
            scores += pair
        best = int(scores.argmax())
        if np.count_nonzero(scores > scores[best] - NEAR_TIE) > 1:
            return self._exact(features_of(words[index], *self._context(words, index), previous, before))
        return self.classes[best]

    def _context(self, words: Sequence[str], index: int) -> tuple[str, str, str, str, str]:
        """Normal forms of a word, of the two to its left, nearest first, and of the two to its right."""
        count = len(words)
        normal = self._normal
        return (
            normal[words[index]],
            normal[words[index - 1]] if index >= 1 else START[index - 1],
            normal[words[index - 2]] if index >= 2 else START[index],
            normal[words[index + 1]] if index + 1 < count else END[index + 1 - count],
            normal[words[index + 2]] if index + 2 < count else END[index + 2 - count],
        )

    def _word_scores(self, words: Sequence[str], index: int) -> tuple[str, Row]:
        """The normal form of a word, and the part of every class's score that needs no tag."""
        here, left, left2, right, right2 = self._context(words, index)
        rows = self._rows
        scores = rows["word"][words[index], here] + rows["left"][left]
        scores += rows["left 2"][left2]
        scores += rows["right"][right]
        scores += rows["right 2"][right2]
        return here, scores

    def _sum(self, features: Sequence[str]) -> Row:
        """Sum of the weights of some features, one entry per class."""
        known = [self._weights[feature] for feature in features if feature in self.weights]
        if not known:
            return _NO_ROW
        total = known[0]
        for row in known[1:]:
            total = total + row
        return total

    def _row(self, feature: str) -> Row:
        """The weights of one feature, one entry per class."""
        row = [0.0] * len(self.classes)
        for label, weight in self.weights[feature].items():
            row[self._column[label]] = weight
        return np.array(row)

    def _exact(self, features: Sequence[str]) -> str:
        """The class as NLTK finds it: weights added feature by feature, ties to the alphabetically last class."""
        scores = dict.fromkeys(self.classes, 0.0)
        for feature in features:
            for label, weight in self.weights.get(feature, {}).items():
                scores[label] += weight
        return max(self.classes, key=lambda label: (scores[label], label))


def _answer(question: Answers, tag: str) -> str:
    return next(answer for letter, answer in question if tag.startswith(letter))


_NO_ROW: Row = np.zeros(1)  # adds nothing to any class


class _FeatureRows(dict[str, Row]):
    """Feature of the model -> its weights; filled on demand."""

    def __init__(self, read: Callable[[str], Row]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, feature: str) -> Row:
        self[feature] = row = self.read(feature)
        return row


class _Rows(dict[Any, Row]):
    """What a group of features looks at -> sum of their weights; filled on demand."""

    def __init__(self, features: Callable[[Any], list[str]], total: Callable[[Sequence[str]], Row]) -> None:
        super().__init__()
        self.features, self.total = features, total

    def __missing__(self, names: Any) -> Row:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[names] = row = self.total(self.features(names))
        return row


class _NormalForms(dict[str, str]):
    """Word -> the form under which it counts as context."""

    def __missing__(self, word: str) -> str:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[word] = form = normalize(word)
        return form


def normalize(word: str) -> str:
    """The form under which a word counts as context: years, digits and hyphenated words are classes."""
    if "-" in word and word[0] != "-":
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    if word and word[0].isdigit():
        return "!DIGITS"
    return word.lower()


def _word_features(word: str, here: str) -> list[str]:
    return ["bias", f"i suffix {word[-3:]}", f"i pref1 {word[:1]}", f"i word {here}"]


def _tag_features(previous: str, before: str) -> list[str]:
    return [f"i-1 tag {previous}", f"i-2 tag {before}", f"i tag+i-2 tag {previous} {before}"]


_GROUPS: dict[str, Callable[[Any], list[str]]] = {
    "word": lambda names: _word_features(*names),
    "tags": lambda names: _tag_features(*names),
    "tag word": lambda names: [f"i-1 tag+i word {names[0]} {names[1]}"],
    "left": lambda left: [f"i-1 word {left}", f"i-1 suffix {left[-3:]}"],
    "left 2": lambda left2: [f"i-2 word {left2}"],
    "right": lambda right: [f"i+1 word {right}", f"i+1 suffix {right[-3:]}"],
    "right 2": lambda right2: [f"i+2 word {right2}"],
}


def features_of(
    word: str, here: str, left: str, left2: str, right: str, right2: str, previous: str, before: str
) -> list[str]:
    """All 14 features in NLTK's order."""
    bias, suffix, prefix, itself = _word_features(word, here)
    return [
        bias,
        suffix,
        prefix,
        *_tag_features(previous, before),
        itself,
        f"i-1 tag+i word {previous} {here}",
        f"i-1 word {left}",
        f"i-1 suffix {left[-3:]}",
        f"i-2 word {left2}",
        f"i+1 word {right}",
        f"i+1 suffix {right[-3:]}",
        f"i+2 word {right2}",
    ]

"""The averaged perceptron tagger (Honnibal 2013, as shipped with NLTK): inference only, same weights, same tags.

Each tag is the class with the largest sum of weights over 14 features of the word, its neighbours within two
positions and the two tags before it. The weights are kept as one row per feature; the part that depends on words
alone is summed once per word, per two words before and per two words behind, and remembered. NLTK adds the weights
in a fixed order, so two classes that tie but for rounding are decided by that order: such near-ties are summed again
exactly as NLTK does.

Where only a question about the tag matters ("noun or verb, or something else?"), the words often answer it whatever the
two tags before are. Unless the tag dictionary fixes both, `answers_at` bounds what they can add to any class and
predicts them only where they decide.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
_Around = tuple[str | None, str | None, str, str | None, str | None]
K = TypeVar("K")
V = TypeVar("V")

START = ("-START-", "-START2-")
END = ("-END-", "-END2-")
Answers = tuple[tuple[str, str], ...]  # (first letter of a tag, answer), at last ("", answer) for all others
NEAR_TIE = 1e-6  # weights are multiples of 0.001; float noise of a sum is far below
CACHE_LIMIT = 50_000  # rows of each kind that are kept, at most 1 KB each


class PerceptronTagger:
    """Tags words; build it with `load`."""

    def __init__(
        self, weights: Mapping[str, Mapping[str, float]], tagdict: Mapping[str, str], classes: Sequence[str]
    ) -> None:
        # NLTK takes the alphabetically last of equal classes; argmax takes the first of equal entries
        self.classes = sorted(classes, reverse=True)
        self.weights = weights
        self.tagdict = tagdict
        self._tags = (*self.classes, *START)  # what can stand before
        self._nothing: Row = np.zeros(len(self.classes))  # of features that the model does not know
        self._column = {label: index for index, label in enumerate(self.classes)}
        self._normal: _Memory[str, str] = _Memory(normalize)
        self._weights: _Memory[str, Row] = _Memory(self._row)
        self._words: _Memory[str, tuple[str, Row]] = _Memory(self._word)
        self._left1: _Memory[str, Row] = _Memory(lambda word: self._sum(_left_features(word)))
        self._left2: _Memory[str, Row] = _Memory(lambda word: self._sum(_left2_features(word)))
        self._right1: _Memory[str, Row] = _Memory(lambda word: self._sum(_right_features(word)))
        self._right2: _Memory[str, Row] = _Memory(lambda word: self._sum(_right2_features(word)))
        self._lefts: _Memory[tuple[str | None, str | None], _Left] = _Memory(self._left)
        self._rights: _Memory[tuple[str | None, str | None], Row] = _Memory(self._right)
        self._sums: _Memory[tuple[str, str], Row] = _Memory(lambda tags: self._sum(_tag_features(*tags)))
        self._pairs: _Memory[tuple[str, str], Row] = _Memory(lambda names: self._sum([_pair_feature(*names)]))
        self._rivals: _Memory[Answers, Row] = _Memory(partial(_rivals, self.classes))
        self._questions: _Memory[Answers, _Question] = _Memory(lambda answers: _Question(answers, self._rivals))
        self._answered: _Memory[tuple[_Question, *_Around], str | None] = _Memory(self._by_words)
        self._before: _Memory[str, Row] = _Memory(self._tag_sums)
        self._lead: _Memory[tuple[str, int], Row] = _Memory(self._leads)
        self._open: _Memory[int, Row] = _Memory(
            lambda best: np.max([self._lead[tag, best] for tag in self._tags], axis=0)
        )
        self._most: _Memory[tuple[str | None, str, int], Row] = _Memory(self._gains)
        self.memories: list[dict[Any, Any]] = [kept for kept in vars(self).values() if isinstance(kept, _Memory)]

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
        questions = [self._questions[answers] for _, answers in asked]
        answered = [
            self._answered[question, *_around(words, at)] for (at, _), question in zip(asked, questions, strict=True)
        ]
        if None in answered:
            open_ = [index for index, answer in enumerate(answered) if answer is None]
            tags = self.tag_at(words, [asked[index][0] for index in open_])
            for index, tag in zip(open_, tags, strict=True):
                answered[index] = questions[index].answer(tag)
        return cast("list[str]", answered)

    def _by_words(self, key: "tuple[_Question, *_Around]") -> str | None:
        """The answer that holds whatever stands before; None if the tags before may change it."""
        question, *around = key
        left2, left1, word, right, right2 = cast("_Around", around)
        fixed = self.tagdict.get(word)
        if fixed is not None:
            return question.answer(fixed)
        left, (here, own) = self._lefts[left1, left2], self._words[word]
        if left.with_tags is not None:
            scores = left.with_tags + own
            scores += self._rights[right, right2]
            return question.answer(self._best(scores, key[1:], here, *cast("tuple[str, str]", left.tags)))
        scores = left.alone + own
        scores += self._rights[right, right2]
        best = int(scores.argmax())
        rivals = scores + self._most[left.tags[0], here, best]
        rivals += question.rivals[best]
        return question.answer(self.classes[best]) if rivals[rivals.argmax()] < scores[best] - NEAR_TIE else None

    def _gains(self, names: tuple[str | None, str, int]) -> Row:
        """The most that the tags before a word can add to each class more than to `best`.

        Args:
            names: the tag before, None if it is open; the word; `best`.
        """
        previous, here, best = names
        most = self._open[best] if previous is None else self._lead[previous, best]
        for tag in self._tags if previous is None else (previous,):
            if (feature := _pair_feature(tag, here)) in self.weights:
                pair = self._weights[feature]
                with_pair = self._lead[tag, best] + (pair - pair[best])
                most = np.maximum(most, with_pair) if previous is None else with_pair
        return most

    def _leads(self, names: tuple[str, int]) -> Row:
        """The most that a tag before, and any tag before it, add to each class more than to `best`."""
        previous, best = names
        sums = self._before[previous]
        lead: Row = (sums - sums[:, best : best + 1]).max(0)
        return lead

    def _tag_sums(self, previous: str) -> Row:
        """What a tag before and each tag before it add to every class, shape (tags, classes)."""
        features = [_tag_features(previous, before) for before in self._tags]
        both = np.zeros((len(features), len(self.classes)))
        for row, (_, _, feature) in zip(both, features, strict=True):
            for label, weight in self.weights.get(feature, {}).items():
                row[self._column[label]] = weight
        return both + self._sum([features[0][0]]) + np.stack([self._sum([last]) for _, last, _ in features])

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
        around = left2, left, word, right, right2 = _around(words, index)
        here, own = self._words[word]
        scores = self._lefts[left, left2].alone + own
        scores += self._rights[right, right2]
        scores += self._sums[previous, before]
        return self._best(scores, around, here, previous, before)

    def _best(self, scores: Row, around: _Around, here: str, previous: str, before: str) -> str:
        """The class that wins once the pair of word and tag before is added to the scores, which are used up."""
        pair = self._pairs[previous, here]
        if pair is not self._nothing:
            scores += pair
        best = int(scores.argmax())
        near = scores[best] - NEAR_TIE
        scores[best] = -np.inf
        if scores[scores.argmax()] > near:
            left2, left, word, right, right2 = around
            context = (*self._normal_left(left, left2), *self._normal_right(right, right2))
            return self._exact(features_of(word, here, *context, previous, before))
        return self.classes[best]

    def _normal_left(self, left: str | None, left2: str | None) -> tuple[str, str]:
        if left is None:
            return START[1], START[0]
        return self._normal[left], START[1] if left2 is None else self._normal[left2]

    def _normal_right(self, right: str | None, right2: str | None) -> tuple[str, str]:
        if right is None:
            return END
        return self._normal[right], END[0] if right2 is None else self._normal[right2]

    def _word(self, word: str) -> tuple[str, Row]:
        """The normal form of a word, and what the word adds to every class."""
        here = self._normal[word]
        return here, self._sum(_word_features(word, here))

    def _left(self, words: tuple[str | None, str | None]) -> "_Left":
        left, left2 = self._normal_left(*words)
        alone = self._left1[left] + self._left2[left2]
        word, word2 = words
        previous = START[0] if word is None else self.tagdict.get(word)
        before = (START[1] if word is None else START[0]) if word2 is None else self.tagdict.get(word2)
        with_tags = None if previous is None or before is None else alone + self._sums[previous, before]
        return _Left(alone, (previous, before), with_tags)

    def _right(self, words: tuple[str | None, str | None]) -> Row:
        right, right2 = self._normal_right(*words)
        return self._right1[right] + self._right2[right2]

    def _sum(self, features: Sequence[str]) -> Row:
        """Sum of the weights of some features, one entry per class."""
        known = [self._weights[feature] for feature in features if feature in self.weights]
        if not known:
            return self._nothing
        total = known[0]
        for row in known[1:]:
            total = total + row
        return total

    def _row(self, feature: str) -> Row:
        """The weights of one feature, one entry per class."""
        row = np.zeros(len(self.classes))
        for label, weight in self.weights[feature].items():
            row[self._column[label]] = weight
        return row

    def _exact(self, features: Sequence[str]) -> str:
        """The class as NLTK finds it: weights added feature by feature, ties to the alphabetically last class."""
        scores = dict.fromkeys(self.classes, 0.0)
        for feature in features:
            for label, weight in self.weights.get(feature, {}).items():
                scores[label] += weight
        return max(self.classes, key=lambda label: (scores[label], label))


def _around(words: Sequence[str], index: int) -> _Around:
    """A word with two on each side; None beyond the ends."""
    if 2 <= index < len(words) - 2:
        return cast("_Around", tuple(words[index - 2 : index + 3]))
    around = (words[at] if 0 <= at < len(words) else None for at in range(index - 2, index + 3))
    return cast("_Around", tuple(around))


class _Left(NamedTuple):
    """What the two words before a word add to every class.

    tags       the tags of these words, nearest first; None for one that the tag dictionary does not fix
    with_tags  what the words and their tags add, if both tags are fixed
    """

    alone: Row
    tags: tuple[str | None, str | None]
    with_tags: Row | None


def _rivals(classes: Sequence[str], answers: Answers) -> Row:
    """For each class, 0 for the classes with another answer and -inf for those with the same; (classes, classes)."""
    by_letter = dict(answers)
    own = np.array([by_letter.get(label[:1], by_letter[""]) for label in classes])
    return np.where(own[:, None] == own, -np.inf, 0.0)


class _Question:
    """A question: the answer to a tag, and what `_rivals` says of its answers."""

    def __init__(self, answers: Answers, rivals: Mapping[Answers, Row]) -> None:
        self._by_letter = dict(answers)
        alike = {answer: str(place) for place, (_, answer) in enumerate(answers)}
        self.rivals = rivals[tuple((letter, alike[answer]) for letter, answer in answers)]

    def answer(self, tag: str) -> str:
        return self._by_letter.get(tag[:1], self._by_letter[""])


class _Memory(dict[K, V], Generic[K, V]):
    """What a function made of a key; filled on demand."""

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, key: K) -> V:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[key] = value = self.make(key)
        return value


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


def _left_features(left: str) -> list[str]:
    return [f"i-1 word {left}", f"i-1 suffix {left[-3:]}"]


def _left2_features(left2: str) -> list[str]:
    return [f"i-2 word {left2}"]


def _right_features(right: str) -> list[str]:
    return [f"i+1 word {right}", f"i+1 suffix {right[-3:]}"]


def _right2_features(right2: str) -> list[str]:
    return [f"i+2 word {right2}"]


def _pair_feature(previous: str, here: str) -> str:
    return f"i-1 tag+i word {previous} {here}"


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
        _pair_feature(previous, here),
        *_left_features(left),
        *_left2_features(left2),
        *_right_features(right),
        *_right2_features(right2),
    ]

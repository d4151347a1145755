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
from functools import cache, partial
from typing import Any, cast

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
        self._tags = (*self.classes, *START)  # what can stand before
        self._column = {label: index for index, label in enumerate(self.classes)}
        self._nothing: Row = np.zeros(len(self.classes))  # of features that the model does not know
        self._rows = {kind: _Rows(features, self._sum) for kind, features in _GROUPS.items()}
        self._weights = _FeatureRows(self._row)
        self._rivals = cache(partial(_rivals, self.classes))
        self._questions: dict[Answers, _Question] = {}
        self._gains: dict[tuple[str | None, str, int], Row] = {}
        self._lead: dict[tuple[str, int], Row] = {}
        self._before: dict[
            str, Row
        ] = {}  # tag -> what it and every tag before it add; "": these alone; (tags, classes)
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
        questions = [self._question(answers) for _, answers in asked]
        answered = [self._by_words(words, at, question) for (at, _), question in zip(asked, questions, strict=True)]
        if None in answered:
            open_ = [index for index, answer in enumerate(answered) if answer is None]
            tags = self.tag_at(words, [asked[index][0] for index in open_])
            for index, tag in zip(open_, tags, strict=True):
                answered[index] = questions[index][tag]
        return cast("list[str]", answered)

    def _question(self, answers: Answers) -> "_Question":
        question = self._questions.get(answers)
        if question is None:
            question = self._questions[answers] = _Question(answers, self._rivals)
        return question

    def _by_words(self, words: Sequence[str], index: int, question: "_Question") -> str | None:
        """The answer that holds whatever stands before; None if the tags before may change it."""
        fixed = self.tagdict.get(words[index])
        if fixed is not None:
            return question[fixed]
        previous = self._fixed(words, index - 1) if self._is_fixed(words, index - 1) else None
        if previous is not None and self._is_fixed(words, index - 2):
            return question[self._predict(words, index, previous, self._fixed(words, index - 2))]
        here, scores = self._word_scores(words, index)
        best = int(scores.argmax())
        rivals = scores + self._most(previous, here, best)
        rivals += question.rivals[best]
        return question[self.classes[best]] if rivals[rivals.argmax()] < scores[best] - NEAR_TIE else None

    def _most(self, previous: str | None, here: str, best: int) -> Row:
        """The most that the tags before a word can add to each class more than to `best`."""
        most = self._gains.get((previous, here, best))
        if most is None:
            if len(self._gains) >= CACHE_LIMIT:
                self._gains.clear()
            most = self._any_lead(best) if previous is None else self._leads(previous, best)
            for tag in self._tags if previous is None else (previous,):
                if (feature := f"i-1 tag+i word {tag} {here}") in self.weights:
                    pair = self._row(feature)
                    with_pair = self._leads(tag, best) + (pair - pair[best])
                    most = np.maximum(most, with_pair) if previous is None else with_pair
            self._gains[previous, here, best] = most
        return most

    def _any_lead(self, best: int) -> Row:
        """The most that any two tags before add to each class more than to `best`, without the word's own part."""
        lead = self._lead.get(("", best))
        if lead is None:
            lead = np.max([self._leads(tag, best) for tag in self._tags], axis=0)
            self._lead["", best] = lead
        return lead

    def _leads(self, previous: str, best: int) -> Row:
        """The most that a tag before, and any tag before it, add to each class more than to `best`."""
        lead = self._lead.get((previous, best))
        if lead is None:
            sums = self._before.get(previous)
            if sums is None:
                sums = self._before[previous] = self._tag_sums(previous)
            lead = self._lead[previous, best] = (sums - sums[:, best : best + 1]).max(0)
        return lead

    def _tag_sums(self, previous: str) -> Row:
        """What a tag before and each tag before it add to every class, shape (tags, classes)."""
        if "" not in self._before:
            self._before[""] = self._table([f"i-2 tag {before}" for before in self._tags])
        both = self._table([f"i tag+i-2 tag {previous} {before}" for before in self._tags])
        return both + self._before[""] + self._table([f"i-1 tag {previous}"])

    def _table(self, features: Sequence[str]) -> Row:
        """The weights of some features, one row each; zeros for a feature that the model does not know."""
        table = np.zeros((len(features), len(self.classes)))
        for index, feature in enumerate(features):
            for label, weight in self.weights.get(feature, {}).items():
                table[index, self._column[label]] = weight
        return table

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
        if pair is not self._nothing:
            scores += pair
        best = int(scores.argmax())
        score = scores[best] - NEAR_TIE
        scores[best] = -np.inf
        if scores[scores.argmax()] > score:
            return self._exact(features_of(words[index], *self._context(words, index), previous, before))
        return self.classes[best]

    def _context(self, words: Sequence[str], index: int) -> tuple[str, str, str, str, str]:
        """Normal forms of a word, of the two to its left, nearest first, and of the two to its right."""
        count = len(words)
        normal = self._normal
        if 2 <= index < count - 2:
            left2, left, here, right, right2 = words[index - 2 : index + 3]
            return normal[here], normal[left], normal[left2], normal[right], normal[right2]
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
            return self._nothing
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


def _rivals(classes: Sequence[str], answers: Answers) -> Row:
    """For each class, 0 for the classes with another answer and -inf for those with the same; (classes, classes)."""
    by_letter = dict(answers)
    own = np.array([by_letter.get(label[:1], by_letter[""]) for label in classes])
    return np.where(own[:, None] == own, -np.inf, 0.0)


class _Question(dict[str, str]):
    """Tag -> answer, for one question; filled on demand. `rivals` is what `_rivals` says of its answers."""

    def __init__(self, answers: Answers, rivals: Callable[[Answers], Row]) -> None:
        super().__init__()
        self.by_letter = dict(answers)
        alike = {answer: str(place) for place, (_, answer) in enumerate(answers)}
        self.rivals = rivals(tuple((letter, alike[answer]) for letter, answer in answers))

    def __missing__(self, tag: str) -> str:
        self[tag] = answer = self.by_letter.get(tag[:1], self.by_letter[""])
        return answer


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

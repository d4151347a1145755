"""Which item an answer belongs to, told by its keys and never by its place in a file.

The keys of an answer may disagree. Then the one that says more counts, and what cannot be settled is an error that
names both:

* The image beats a counter. `question_id` or `id` counts rows of somebody's list as often as it names an item; the
  image says what was looked at. So an image that belongs to other items than the id does wins where it (with the
  question) leaves one item; else the answer contradicts itself.
* A question that differs from the item's is a contradiction.
* Parts ("random/7", "popular/7") are read from a field of the answer, then from the file's name
  ("pope_adv.jsonl"), then by elimination: items that other answers name for certain are taken.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.formats.answers import Answer
from evalkit.schema import Item, Response

_TRAILING_NUMBER = re.compile(r"(\d+)$")
_FRACTION = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")  # 25.5 is neither image 25 nor image 5
_QUERY = re.compile(r"(?<=\w)[?#].*$", re.DOTALL)
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_NEGATIVE = re.compile(r"-\d+")
_IMAGE_MARK = re.compile(r"<image>|<ImageHere>|<image_\d+>")
_MISSPELLED = re.compile(r"\bimange\b")  # in the lists of VCD, LLaVA and lmms-lab/POPE
_WORD = re.compile(r"[a-z]+")
ANOTHER_QUESTION = "asks another question"
SEVERAL_PARTS = "a file's name tells the part"  # in the reason why an answer fits several items
FEWEST_LETTERS = 3  # of a part's name that a file's name shortens: adv, pop, rand


@dataclass(slots=True)
class Join:
    """Answers laid on items.

    responses   (item id, sample) -> response
    unmatched   answers that belong to no item, or to several: where they stand and why
    duplicates  second answers for the same item and sample
    missing     ids of items without any answer
    misspelled  answers whose question is the item's but for a known slip
    absent      places of rows without a response
    blank       places of rows whose response is a text without a word
    """

    responses: dict[tuple[str, int], Response] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misspelled: int = 0
    absent: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """An answer that fits several items."""

    answer: Answer
    fitting: frozenset[str]
    reason: str


def join_answers(answers: Iterable[tuple[Path, Answer]], items: Sequence[Item]) -> Join:
    """Lay answers on items; nothing is raised, everything is named. The path only helps to tell parts apart."""
    answers = list(answers)
    index = ItemIndex(items, [answer for _, answer in answers])
    joined = Join()
    places: dict[tuple[str, int], str] = {}
    waiting: list[_Open] = []

    def lay(answer: Answer, item_id: str) -> None:
        key = (item_id, answer.sample)
        if key in places:
            joined.duplicates.append(f"item {item_id!r} at {answer.where}, before at {places[key]}")
            return
        places[key] = answer.where
        joined.responses[key] = Response(item_id, answer.text, answer.sample, failure=answer.failure)

    for path, answer in answers:
        if answer.absent:
            joined.absent.append(answer.where)
        elif answer.text is not None and not answer.text.strip():
            joined.blank.append(answer.where)
        joined.misspelled += any(kind == "question" and _MISSPELLED.search(text.lower()) for kind, text in answer.keys)
        fitting, reason = index.find(answer, path.stem)
        if not fitting:
            joined.unmatched.append(f"{answer.where} ({reason})")
        elif reason:
            waiting.append(_Open(answer, fitting, reason))
        else:
            for item_id in sorted(fitting):
                lay(answer, item_id)
    if _answers_every_part(waiting, {item_id for item_id, _ in places}, items):
        for one in waiting:
            for item_id in sorted(one.fitting):
                lay(one.answer, item_id)
        waiting = []
    _by_elimination(waiting, places, lay, joined)
    answered = {item_id for item_id, _ in places}
    joined.missing = [item.id for item in items if item.id not in answered]
    return joined


def _answers_every_part(waiting: Sequence[_Open], placed: set[str], items: Sequence[Item]) -> bool:
    """Whether a file answers each question about an image once, and so all of all parts, as VLMEvalKit's do."""
    shared = set().union(*(one.fitting for one in waiting))
    once = sum(len(one.fitting) for one in waiting) == len(shared)
    identified = all({"image", "question"} <= {kind for kind, _ in one.answer.keys} for one in waiting)
    return bool(waiting) and once and identified and all(item.id in shared or item.id in placed for item in items)


def _by_elimination(
    waiting: list[_Open], places: dict[tuple[str, int], str], lay: Callable[[Answer, str], None], joined: Join
) -> None:
    """Answers that fit several items, of which the others are answered; or as many equal ones as there are items."""
    while True:
        left = [
            _Open(one.answer, frozenset(i for i in one.fitting if (i, one.answer.sample) not in places), one.reason)
            for one in waiting
        ]
        sure = [one for one in left if len(one.fitting) == 1]
        claimed = [next(iter(one.fitting)) for one in sure]
        sure = [one for one, item_id in zip(sure, claimed, strict=True) if claimed.count(item_id) == 1]
        if not sure:
            break
        for one in sure:
            lay(one.answer, next(iter(one.fitting)))
        done = {id(one.answer) for one in sure}
        waiting = [one for one in waiting if id(one.answer) not in done]
    groups: dict[tuple[frozenset[str], int], list[_Open]] = {}
    for one in left:
        groups.setdefault((one.fitting, one.answer.sample), []).append(one)
    for (fitting, _), group in groups.items():
        alike = len({(one.answer.text, one.answer.failure is None) for one in group}) == 1
        if alike and len(group) == len(fitting):
            for one, item_id in zip(group, sorted(fitting), strict=True):
                lay(one.answer, item_id)
        else:
            joined.unmatched += [f"{one.answer.where} ({one.reason})" for one in group]


class ItemIndex:
    """Finds the items that an answer's keys fit."""

    def __init__(self, items: Sequence[Item], answers: Sequence[Answer] = ()) -> None:
        """`answers` are all those to be found: if one of them names a part, all are read so."""
        self._questions = {item.id: plain_question(item.question) for item in items}
        self._one_question = len(set(self._questions.values())) == 1
        self._parts = {item.id: item.id.rpartition("/")[0] for item in items}
        self._names_of_parts = set(self._parts.values()) - {""}  # few, where the items are thousands
        self._parts_are_told = False
        self._parts_are_told = any(self._told_parts(answer) for answer in answers)
        self._by_key: dict[tuple[str, str], set[str]] = {}
        for item in items:
            for kind, value in _item_keys(item):
                self._by_key.setdefault((kind, value), set()).add(item.id)

    def find(self, answer: Answer, stem: str) -> tuple[frozenset[str], str]:
        """The items an answer belongs to, and why they are not certain.

        Returns:
            (ids, ""): one item, or several that the answer itself names by their parts; (ids, why): it fits them all
            and belongs to one; (no ids, why): it belongs to none.
        """
        asked = next((plain_question(value) for kind, value in answer.keys if kind == "question"), None)
        by_image, conflict = self._same_of(answer, "image", asked)
        by_id, other = self._same_of(answer, "id", asked)
        hinted = set() if by_image else self._same_of(answer, "hint", asked)[0]
        if conflict:
            return frozenset(), conflict
        named = [value for kind, value in answer.keys if kind == "image"]
        contradiction = ""
        fitting = by_image or by_id or hinted
        if hinted and by_id and not hinted & by_id:
            return frozenset(), f"{_shown(answer)}: the id names {min(by_id)!r}, the image {min(hinted)!r}"
        if by_image and by_id:
            fitting = by_image & by_id or by_image
            parts = [self._parts[item_id] for item_id in by_image]
            if not by_image & by_id and (asked is None or self._one_question) and len(parts) > len(set(parts)):
                return frozenset(), f"{_shown(answer)}: the id names {min(by_id)!r}, the image {min(by_image)!r}"
        if not fitting:
            contradiction = other
            if asked is not None and not named:
                fitting = self._by_key.get(("question", asked), set())
        elif named and not by_image:
            shown = set().union(*(self._by_key.get(("image", name), set()) for v in named for name in _file_names(v)))
            if shown and not shown & by_id:
                return frozenset(), f"{_shown(answer)}: the id names {min(by_id)!r}, the image {min(shown)!r}"
            if self._one_question or asked is None:
                return frozenset(), f"no item with {_shown(answer)}"
        return self._settled(set(fitting), answer, stem, asked, contradiction)

    def _settled(
        self, fitting: set[str], answer: Answer, stem: str, asked: str | None, contradiction: str
    ) -> tuple[frozenset[str], str]:
        if len(fitting) > 1 and asked is not None:
            fitting = {item_id for item_id in fitting if self._questions[item_id] == asked} or fitting
        named = self._told_parts(answer)
        if named and self._names_of_parts:
            fitting = {item_id for item_id in fitting if self._parts[item_id] in named}
            counted = [self._parts[item_id] for item_id in fitting]
            if fitting and len(counted) == len(set(counted)):
                return frozenset(fitting), ""
        fitting = self._of_part(fitting, answer, stem)
        if len(fitting) == 1:
            return frozenset(fitting), ""
        if not fitting:
            return frozenset(), contradiction or f"no item with {_shown(answer)}"
        parts = sorted({self._parts[item_id] for item_id in fitting} - {""})
        remedy = f"; {SEVERAL_PARTS}, e.g. answers_{parts[0]}.jsonl" if len(parts) > 1 else ""
        some = ", ".join(sorted(fitting)[:3])
        return frozenset(fitting), f"{_shown(answer)} fits {len(fitting)} items, e.g. {some}{remedy}"

    def _same_of(self, answer: Answer, kind: str, asked: str | None) -> tuple[set[str], str]:
        """Items that all keys of a kind fit and whose question is the one asked; and a contradiction among them."""
        fitting: set[str] | None = None
        problem = ""
        for own, value in answer.keys:
            if own != kind:
                continue
            candidates = self._candidates(kind, value)
            same = {item_id for item_id in candidates if asked is None or self._same_question(item_id, asked)}
            if candidates and not same:
                problem = problem or f"{_shown(answer)}: item {min(candidates)!r} {ANOTHER_QUESTION}"
            if not same:
                continue
            if fitting is not None and not fitting & same:
                return set(), f"{_shown(answer)}: its {kind}s name different items, {min(fitting)!r} and {min(same)!r}"
            fitting = same if fitting is None else fitting & same
        if kind in ("image", "hint"):  # an image of another question is not a conflict of images: the id may still fit
            return fitting or set(), ""
        return fitting or set(), problem

    def _told_parts(self, answer: Answer) -> set[str]:
        named = {name.strip() for kind, value in answer.keys if kind == "part" for name in value.split(",")}
        return named if self._parts_are_told or named & self._names_of_parts else set()

    def _of_part(self, fitting: set[str], answer: Answer, stem: str) -> set[str]:
        if len(fitting) < 2:
            return fitting
        parts = self._told_parts(answer) or self._parts_in(stem)
        return {item_id for item_id in fitting if self._parts[item_id] in parts} or fitting

    def _parts_in(self, stem: str) -> set[str]:
        """Parts that a file's name holds, whole or shortened: pope_random, 2026_samples_pope_adv."""
        whole = {part for part in self._names_of_parts if part in stem}
        if whole:
            return whole
        words = {word for word in _WORD.findall(stem.lower()) if len(word) >= FEWEST_LETTERS}
        return {part for part in self._names_of_parts if any(part.lower().startswith(word) for word in words)}

    def _candidates(self, kind: str, value: str) -> set[str]:
        if kind in ("image", "hint"):
            names = _image_names(value)
            return set().union(*(self._by_key.get(("image", name), set()) for name in names[:1])) or set().union(
                *(self._by_key.get(("image", name), set()) for name in names[1:])
            )
        return self._by_key.get(("id", value), set()) or self._by_key.get(("id part", value), set())

    def _same_question(self, item_id: str, asked: str) -> bool:
        """Prompts may carry more text around the question; where all items share one, its wording tells nothing."""
        question = self._questions[item_id]
        return self._one_question or not question or question in asked or asked in question


def plain_question(text: str) -> str:
    """A question without image marks, case, spacing and known slips of the pen."""
    return _MISSPELLED.sub("image", " ".join(_IMAGE_MARK.sub(" ", text).split()).casefold())


def _item_keys(item: Item) -> set[tuple[str, str]]:
    keys = {("id", item.id), ("id part", item.id.rpartition("/")[2]), ("question", plain_question(item.question))}
    keys |= {("id", name) for name in item.aliases}
    image_id = item.reference.get("image_id")
    if isinstance(image_id, str | int):
        keys.add(("image", str(image_id)))
    name = item.image.name if item.image is not None else item.cluster
    keys |= {("image", name) for name in (_image_names(name) if name else [item.id])}  # no name: the id is the image's
    return keys


def _image_names(value: str) -> list[str]:
    """A file name, its stem, and the number at its end without leading zeros (COCO_val2014_000000310196.jpg)."""
    if _FRACTION.fullmatch(value):
        return [value]
    names = _file_names(value)
    number = None if _NEGATIVE.fullmatch(names[-1]) else _TRAILING_NUMBER.search(names[-1])
    return list(dict.fromkeys([*names, str(int(number[1][:18]))] if number else names))


def _file_names(value: str) -> list[str]:
    name = _QUERY.sub("", value.replace("\\", "/")).rpartition("/")[2]
    return [value, name, _SUFFIX.sub("", name) or name]


def _shown(answer: Answer) -> str:
    return ", ".join(f"{kind} {value[:40]!r}" for kind, value in answer.keys)

"""What the authors' evaluation prints over HallusionBench's codes, and the diagnosis behind it.

Three units are counted: questions; *figures*, all of whose questions must be right; *pairs*, the same question put to
the original and to each edited figure, all of which must be right. The printed "easy" and "hard question accuracy"
are no accuracies of questions: they are all-or-nothing over the part of each pair that comes with the original figure
(or none), and over the part with edited figures.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.hallusionbench.codes import Code
from evalkit.schema import Json

Cause = Literal["language", "visual", "mixed"]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the benchmark, fields as in the authors' file.

    category      "VD" needs the figure, "VS" is only supported by it
    visual_input  "0" none, "1" the original figure, "2" an edited one
    figure_id     "0" is the original (VD), or no figure at all (VS)
    truth         "yes" or "no"
    """

    category: str
    subcategory: str
    set_id: str
    figure_id: str
    question_id: str
    visual_input: str
    truth: str

    @property
    def pair(self) -> Key:
        """What the variants of one question share."""
        return (self.category, self.subcategory, self.set_id, self.question_id)

    @property
    def figure(self) -> Key | None:
        """What the questions about one figure share; None for a question without one."""
        return None if self.without_figure else (self.category, self.subcategory, self.set_id, self.figure_id)

    @property
    def without_figure(self) -> bool:
        """Whether the question is put without its figure."""
        return self.category == "VS" and self.figure_id == "0"


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, how it was answered, and whether the answer is compatible with the one to the pair's figure 0.

    same  None where nobody was asked
    """

    question: Question
    code: Code
    same: bool | None = None

    @property
    def right(self) -> bool:
        """Whether it counts as right: unclear does where there is no figure."""
        return self.code == "1" or (self.code == "2" and self.question.without_figure)


def cause(answered: Answered, original: Code | None) -> Cause | None:
    """Why an answer is wrong by the authors' diagnosis; None for one that is right.

    Args:
        original: code of the answer to the pair's figure 0.
    """
    if answered.right:
        return None
    question, code, same = answered.question, answered.code, answered.same
    if question.figure_id == "0":
        return "visual" if question.category == "VD" else "language"
    if question.category == "VD":
        return "mixed" if original == "1" and code == "0" and same else "visual"
    if original == "0":
        return "language" if code == "0" and same else "mixed"
    if original == "1" and code == "0" and question.visual_input == "2" and same:
        return "language"
    return "visual"


def originals(rows: Iterable[Answered]) -> dict[Key, Code]:
    """Pair -> code of the answer to its figure 0."""
    return {row.question.pair: row.code for row in rows if row.question.figure_id == "0"}


def causes(rows: Sequence[Answered]) -> list[Cause | None]:
    """The diagnosis of every answer, in order."""
    first = originals(rows)
    return [cause(row, first.get(row.question.pair)) for row in rows]


def all_right(rows: Iterable[Answered], key: Callable[[Answered], Hashable | None]) -> Counter[str]:
    """Groups of rows: "groups" in all, "right" with every answer right, "wrong" with none; None is no key."""
    members: dict[Hashable, list[bool]] = defaultdict(list)
    for row in rows:
        if (name := key(row)) is not None:
            members[name].append(row.right)
    counts: Counter[str] = Counter(groups=len(members))
    for rights in members.values():
        counts["right" if all(rights) else "mixed" if any(rights) else "wrong"] += 1
    return counts


def official_figures(rows: Sequence[Answered]) -> dict[str, Json]:
    """The authors' two tables, in percent with 4 decimals as they are printed; None where they would divide by zero.

    Args:
        rows: answers to the questions, each question once.
    """
    pairs = all_right(rows, lambda row: row.question.pair)
    easy = all_right([row for row in rows if row.question.visual_input != "2"], lambda row: row.question.pair)
    hard = all_right([row for row in rows if row.question.visual_input == "2"], lambda row: row.question.pair)
    figures = all_right(rows, lambda row: row.question.figure)
    right = sum(row.right for row in rows)
    by_cause = Counter(causes(rows))
    wrong = sum(count for name, count in by_cause.items() if name is not None)
    return {
        "questions": len(rows),
        "pairs": pairs["groups"],
        "figures": figures["groups"],
        "qAcc": _percent(pairs["right"], pairs["groups"]),
        "fAcc": _percent(figures["right"], figures["groups"]),
        "easy_aAcc": _percent(easy["right"], easy["groups"]),
        "hard_aAcc": _percent(hard["right"], hard["groups"]),
        "aAcc": _percent(right, len(rows)),
        **yes_bias(rows),
        "consistency_correct": _percent(figures["right"], figures["groups"]),
        "consistency_inconsistent": _percent(figures["mixed"], figures["groups"]),
        "consistency_wrong": _percent(figures["wrong"], figures["groups"]),
        "LH": _percent(by_cause["language"], wrong),
        "VI": _percent(by_cause["visual"], wrong),
        "Mixed": _percent(by_cause["mixed"], wrong),
    }


def yes_bias(rows: Sequence[Answered]) -> Mapping[str, float | None]:
    """How much more often yes is said than true, and how many of the wrong answers are a wrong yes.

    What was predicted follows from being right alone: an unclear answer about a figure is the opposite of the truth.
    """
    if not rows:
        return {"pct_diff": None, "fp_ratio": None}
    predicted = sum(row.right == (row.question.truth == "yes") for row in rows) / len(rows)
    true = sum(row.question.truth == "yes" for row in rows) / len(rows)
    wrong = [row for row in rows if not row.right]
    false_yes = sum(row.question.truth == "no" for row in wrong)
    return {"pct_diff": predicted - true, "fp_ratio": false_yes / len(wrong) if wrong else None}


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None

"""What the authors' summarisers print from the judge's points, under each way of counting a reply nobody can read.

official-llava  LLaVA, LLaVA-RLHF: an unreadable reply is (-1, -1) and enters both means; if no reply can be read,
                that prints 100.0, which is no score: here it is None
official-rlhfv  RLHF-V: replies whose reference score is -1 are left out, and counted
safe            ours: unreadable replies are left out; more than a tenth of them, and there is no figure
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.judges.pairwise import Points
from evalkit.schema import Json

FailurePolicy = Literal["safe", "official-llava", "official-rlhfv"]
POLICIES: tuple[FailurePolicy, ...] = get_args(FailurePolicy)
LARGEST_SHARE = 0.1  # of unreadable replies under the policy "safe"
UNREAD = Points(-1.0, -1.0)  # what the authors' reader returns


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of a summary.

    score             100 * model / reference, of means rounded to 3 decimals, to 1 decimal; None where there is none
    reference, model  mean points of each side, 3 decimals
    """

    score: float | None
    reference: float | None
    model: float | None

    def line(self, name: str) -> str:
        """As LLaVA's summariser prints it: name, score, ten times each mean."""
        if self.score is None or self.reference is None or self.model is None:
            return f"{name} -"
        return f"{name} {self.score} {round(self.reference * 10, 1)} {round(self.model * 10, 1)}"


def summarise(readings: Sequence[tuple[str, Points | None]], policy: FailurePolicy) -> dict[str, Json]:
    """Figures per category and for "all", with the share of replies that could not be read.

    >>> summarise([("conv", Points(8, 4)), ("conv", None)], "official-llava")["scores"]["all"]["score"]
    42.9
    >>> summarise([("conv", Points(8, 4)), ("conv", None)], "official-rlhfv")["scores"]["all"]["score"]
    50.0
    >>> summarise([("conv", None)], "official-llava")["scores"]["all"]["score"] is None
    True

    Args:
        readings: (category, points of one reply), None for one that cannot be read.
    """
    kept = [(name, points or UNREAD) for name, points in readings if _counts(points, policy)]
    unread = sum(points is None for _, points in readings)
    share = unread / len(readings) if readings else None
    withheld = unread == len(readings) or (policy == "safe" and share is not None and share > LARGEST_SHARE)
    by_name: dict[str, list[Points]] = defaultdict(list)
    for name, points in kept:
        by_name["all"].append(points)
        by_name[name].append(points)
    figures = {name: Figures(None, None, None) if withheld else _figures(points) for name, points in by_name.items()}
    if not figures:
        figures = {"all": Figures(None, None, None)}
    return {
        "policy": policy,
        "replies": len(readings),
        "unread": unread,
        "unread_share": share,
        "left_out": len(readings) - len(kept),
        "scores": {
            name: {"score": row.score, "reference": row.reference, "model": row.model} for name, row in figures.items()
        },
        "printed": [row.line(name) for name, row in sorted(figures.items())],
    }


def _counts(points: Points | None, policy: FailurePolicy) -> bool:
    if policy == "official-llava":
        return True
    if policy == "official-rlhfv":
        return points is not None and points.reference != UNREAD.reference
    return points is not None


def _figures(points: Sequence[Points]) -> Figures:
    reference = round(sum(row.reference for row in points) / len(points), 3)
    model = round(sum(row.model for row in points) / len(points), 3)
    return Figures(round(model / reference * 100, 1) if reference else None, reference, model)


def both_official(readings: Sequence[tuple[str, Points | None]]) -> Mapping[str, Json]:
    """The figures of the two families of scripts, for the official block of a run."""
    return {policy: summarise(readings, policy) for policy in POLICIES if policy != "safe"}

"""What RefoMB's scripts print: the mean of win 1, tie 1/2, loss 0 over the items judged, and wins by question type."""

from collections.abc import Mapping, Sequence

from benchmarks.judges.pairwise import Verdict
from evalkit.schema import Json

TYPES = (
    "Coarse Perception",
    "Fine-grained perception",
    "Relation reasoning",
    "Attribute reasoning",
    "Time series inference",
    "Mechanical logical reasoning",
    "Creative generation",
    "OCR",
)


def official_figures(verdicts: Sequence[tuple[str, Verdict]]) -> dict[str, Json]:
    """Score, wins, losses and ties, and "win/loss/tie" by question type; a score of None if nothing was judged.

    >>> figures = official_figures([("OCR", 1), ("OCR", 0), ("Relation reasoning", -1)])
    >>> figures["score"], figures["printed"], figures["OCR"]
    (0.5, '0.500', '1/0/1')

    Args:
        verdicts: (question type, verdict) of every item that has one; an item lost to the judge is not among them.
    """
    judged = [verdict for _, verdict in verdicts]
    wins, losses, ties = judged.count(1), judged.count(-1), judged.count(0)
    score = sum((verdict + 1) / 2.0 for verdict in judged) / len(judged) if judged else None
    by_type: Mapping[str, list[Verdict]] = {
        name: [verdict for kind, verdict in verdicts if kind == name]
        for name in dict.fromkeys((*TYPES, *(kind for kind, _ in verdicts)))
    }
    return {
        "score": score,
        "printed": None if score is None else f"{score:.3f}",
        "judged": len(judged),
        "win": wins,
        "loss": losses,
        "tie": ties,
        **{name: f"{kind.count(1)}/{kind.count(-1)}/{kind.count(0)}" for name, kind in by_type.items()},
    }

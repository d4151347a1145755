"""AMBER's figures as the authors' script prints them: seeded denominators, one decimal, F1 from rounded parts.

Every denominator starts at 0.001, so that nothing divides by zero: one perfect answer prints 99.9, no caption at all
prints Hal 100.0. The positive class of precision and recall is "No". The blocks carry the script's own letters:
g generative, d all questions, de existence, da attribute (state, number, action), dr relation.
"""

from collections.abc import Collection, Mapping, Sequence

Sums = Mapping[str, float]
Block = dict[str, float]

SEED = 0.001
EPSILON = 0.0001  # in the denominator of F1 ...
EPSILON_EXISTENCE = 0.001  # ... and of existence's F1
ATTRIBUTES = ("state", "number", "action")
TYPES = ("existence", *ATTRIBUTES, "relation")


def official_figures(sums: Mapping[str, Sums], dimensions: Collection[str], suffix: str = "") -> dict[str, Block]:
    """The printed blocks.

    Args:
        sums: type ("generative", "existence", "state", "number", "action", "relation") -> summed counts.
        dimensions: which of generative, existence, attribute, relation were asked; a block is printed for each, and
            "d" for the last three together.
        suffix: of the counts of another reading of the answers, e.g. "_word".

    >>> no = {"questions": 1, "correct": 1, "said_no": 1, "no_questions": 1, "found_no": 1}
    >>> official_figures({"existence": no}, ["existence"])
    {'de': {'Accuracy': 99.9, 'Precision': 99.9, 'Recall': 99.9, 'F1': 99.9}}
    """
    figures = {}
    if "generative" in dimensions:
        figures["g"] = _generative(sums.get("generative", {}))
    if {"existence", "attribute", "relation"} <= set(dimensions):
        figures["d"] = _answers([_added(sums, TYPES)], suffix)
    if "existence" in dimensions:
        figures["de"] = _answers([sums.get("existence", {})], suffix, EPSILON_EXISTENCE)
    if "attribute" in dimensions:
        figures["da"] = _answers([sums.get(name, {}) for name in ATTRIBUTES], suffix)
        figures |= {name: _answers([sums.get(name, {})], suffix) for name in ATTRIBUTES}
    if "relation" in dimensions:
        figures["dr"] = _answers([sums.get("relation", {})], suffix)
    return figures


def amber_score(figures: Mapping[str, Block]) -> float | None:
    """(100 - CHAIR + F1) / 2 over the printed figures; None unless both halves were asked.

    The script does not print it; the paper's table follows it, rounded half up to one decimal.

    >>> amber_score({"g": {"CHAIR": 7.8}, "d": {"F1": 74.7}})
    83.45
    """
    if "g" not in figures or "d" not in figures:
        return None
    return round((100 - figures["g"]["CHAIR"] + figures["d"]["F1"]) / 2, 2)


def _generative(sums: Sums) -> Block:
    clean = sums.get("captions", 0) - sums.get("hallucinated_captions", 0)
    return {
        "CHAIR": _percent(sums.get("hallucinated_mentions", 0), SEED + sums.get("mentions", 0)),
        "Cover": _percent(sums.get("covered_words", 0), SEED + sums.get("truth_words", 0)),
        "Hal": round(100 - clean / (SEED + sums.get("captions", 0)) * 100, 1),
        "Cog": _percent(sums.get("hit_words", 0), SEED + sums.get("hallu_words", 0)),
    }


def _answers(parts: Sequence[Sums], suffix: str, epsilon: float = EPSILON) -> Block:
    """Accuracy, precision, recall and F1 over parts that each bring a seed of their own."""

    def total(name: str) -> float:
        return sum(part.get(name, 0) for part in parts)

    seeds = SEED * len(parts)
    precision = _percent(total(f"found_no{suffix}"), seeds + total(f"said_no{suffix}"))
    recall = _percent(total(f"found_no{suffix}"), seeds + total("no_questions"))
    p, r = precision / 100, recall / 100
    return {
        "Accuracy": _percent(total(f"correct{suffix}"), seeds + total("questions")),
        "Precision": precision,
        "Recall": recall,
        "F1": round(2 * p * r / (p + r + epsilon) * 100, 1),
    }


def _percent(part: float, whole: float) -> float:
    return round(part / whole * 100, 1)


def _added(sums: Mapping[str, Sums], types: Sequence[str]) -> Sums:
    added: dict[str, float] = {}
    for name in types:
        for count, value in sums.get(name, {}).items():
            added[count] = added.get(count, 0) + value
    return added

"""The entry "bases": can the bases' hallucinations be found without the image? Part of every base's quality check."""

import json

from tests.results.entry import Entry, Measured

COLUMNS = {
    "chair_s": "chair_s",
    "recall": "recall",
    "fluent": "grammatical, %",
    "object_answers": "own answers right, %",
    "objects_auc": "AUC, named nouns",
    "text_auc": "AUC, all text",
    "rule": "strongest blind rule",
    "rule_advantage": "points below the front",
}


def table(measured: Measured) -> str:
    """From quality.json of every base."""
    lines = [f"| base seed | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for seed in measured.seeds:
        quality = json.loads((measured.bench.base(seed) / "quality.json").read_text())
        lines.append(f"| {seed} | {' | '.join(str(quality[name]) for name in COLUMNS)} |")
    return "\n".join(lines)


BASES = Entry(
    "bases",
    "No tells",
    "A base's hallucinations cannot be found without looking at the image.",
    """AUC of a classifier that sees only which nouns a description names, and of one that sees all of the text
    (wording, order, position), for false against true mentions of 400 validation scenes; and the blind rule that lies
    furthest below the truncation front, in points of CHAIR_s. A base whose text tells more than 0.05, or on which a
    rule gains more than 2 points, is refused. In the world of 0.1.0 the second classifier had 0.975 against 0.892, and
    deleting the sentences that begin "In the background" took CHAIR_s from 28.0 to 11.0 at unchanged recall.""",
    {},
    quick=True,
    tables=table,
)

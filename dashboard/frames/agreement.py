"""What the page Agreement shows: reliability, accuracy on the gold set, and how each answer looks on its response."""

from collections.abc import Mapping, Sequence

import pandas as pd

from evalkit.annotation.agreement import Reliability
from evalkit.annotation.answers import segments_of
from evalkit.annotation.study import Study, StudyItem
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval

Answer = Mapping[str, Json]


def reliability_frame(rows: Sequence[Reliability]) -> pd.DataFrame:
    """One line per respect: what, units, alpha and each pair's kappa with intervals, as texts."""
    return pd.DataFrame(
        [
            {
                "agreement on": row.what,
                "units": row.units,
                "Krippendorff's alpha": row.alpha.text(2),
                **{f"kappa {first}, {second}": kappa.text(2) for (first, second), kappa in row.kappas.items()},
            }
            for row in rows
        ]
    )


def gold_frame(accuracy: Mapping[str, Interval]) -> pd.DataFrame:
    """Annotator and share of known answers, in percent with its interval."""
    return pd.DataFrame([{"annotator": name, "right, %": value.text()} for name, value in accuracy.items()])


def findings_of(study: Study, item: StudyItem, answer: Answer, response: int = 0) -> list[dict[str, Json]]:
    """What an answer marks or changes in a response, as findings for display."""
    if study.task == "mark":
        spans = [tuple(span) for span in answer["spans"]]
    elif study.task == "correct":
        spans = [(s.start, s.end, s.type) for s in segments_of(answer)]
    else:
        spans = [tuple(span[1:]) for span in answer["wrong"] if span[0] == response]
    length = len(item.texts[response])
    return [
        {"start": start, "end": max(end, min(length, start + 1)), "label": "hallucinated", "note": kind}
        for start, end, kind in spans
    ]

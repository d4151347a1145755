"""What comes out of a study: preference pairs, comparisons, MHumanEval's rates, labels to calibrate a judge with.

    pairs        RLHF-V (arXiv:2312.00849): chosen = corrected, rejected = the response, with the changed segments; of
                 comparisons the response that hallucinates less is chosen
    comparisons  LLaVA-RLHF (arXiv:2309.14525): two responses, which is better, whether the worse one hallucinates
    mhumaneval   RLHF-V: share of responses that hallucinate, and per type; a response counts once per type
    labels       id, sample, label: 1 hallucinates, 0 does not; what `evalkit calibrate-judge` reads

Where an item was adjudicated, the adjudicated answer counts alone. Otherwise each annotator's correction and comparison
is a row of its own; rates and labels follow the majority, and a tie leaves the response out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.annotation.answers import types_of
from evalkit.annotation.decided import all_answers
from evalkit.annotation.omissions import omissions as left_out
from evalkit.annotation.study import Study, StudyItem, place_in_draw
from evalkit.errors import DataError
from evalkit.metrics import Metric
from evalkit.runs.run import Run
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval, intervals

Answer = Mapping[str, Json]
CORRECTED = "corrected"


@dataclass
class Exported:
    """Rows, and why items gave none: reason -> how many."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any] | None, reason: str) -> None:
        """Add a row, or count why there is none."""
        if row is None:
            self.left_out[reason] += 1
        else:
            self.rows.append(row)


def pairs(study: Study, omissions: int = 0) -> Exported:
    """Rows of a pairs file: id, image (absolute path or None), prompt, chosen, rejected, meta.

    Args:
        omissions: of corrections: for every corrected response so many pairs in which an accepted sentence is left out
            of the rejected response (see `evalkit.annotation.omissions`).
    Raises:
        DataError: for a study of marks, which says what is wrong but not what is right.
    """
    if study.task == "mark":
        raise DataError(f"study {study.name!r} holds marks: pairs need corrections or comparisons")
    if omissions and study.task != "correct":
        raise DataError(f"study {study.name!r} holds comparisons: sentences are left out of corrected responses")
    exported = Exported()
    for item, answers in all_answers(study):
        for name, answer in answers.items():
            if study.task == "correct":
                row = _corrected_pair(study, item, name, answer)
                exported.add(row, "accepted as it is")
                if row is not None:
                    exported.rows += _omission_pairs(study, item, name, answer, omissions)
            else:
                exported.add(_compared_pair(study, item, name, answer), "a tie")
    return exported


def _corrected_pair(study: Study, item: StudyItem, name: str, answer: Answer) -> dict[str, Any] | None:
    if answer["text"] == item.texts[0]:
        return None
    meta = {"segments": answer["segments"], "model": study.runs[item.responses[0].run].label}
    return _pair(study, item, name, str(answer["text"]), item.texts[0], meta)


def _omission_pairs(study: Study, item: StudyItem, name: str, answer: Answer, count: int) -> Iterator[dict[str, Any]]:
    for number, shorter in left_out(item.texts[0], str(answer["text"]), count, study.seed, item.key, name):
        meta = {"kind": "omission", "sentence": number, "model": study.runs[item.responses[0].run].label}
        row = _pair(study, item, name, str(answer["text"]), shorter, meta)
        yield {**row, "id": f"{row['id']}-without-{number}"}


def _compared_pair(study: Study, item: StudyItem, name: str, answer: Answer) -> dict[str, Any] | None:
    if answer["less_hallucinated"] == "tie":
        return None
    chosen = int(answer["less_hallucinated"] == "second")
    models = [study.runs[response.run].label for response in item.responses]
    meta = {"better": answer["better"], "chosen_model": models[chosen], "rejected_model": models[1 - chosen]}
    return _pair(study, item, name, item.texts[chosen], item.texts[1 - chosen], meta)


def _pair(study: Study, item: StudyItem, name: str, chosen: str, rejected: str, meta: Answer) -> dict[str, Any]:
    return {
        "id": f"{item.key}@{name}",
        "image": None if item.image is None else os.path.join(item.image["folder"], item.image["name"]),
        "prompt": item.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "meta": {"study": study.name, "annotator": name, **meta},
    }


def comparisons(study: Study) -> tuple[Exported, Path | None]:
    """Rows of LLaVA-RLHF's comparison file, and the folder at which their image names begin.

    Of corrections, the corrected response is the better one; which of the two comes first is drawn by the seed.

    Raises:
        DataError: for a study of marks, or if an item has no image.
    """
    if study.task == "mark":
        raise DataError(f"study {study.name!r} holds marks: comparisons need corrections or comparisons")
    answered = all_answers(study)
    folder = _common_folder([item for item, _ in answered])
    exported = Exported()
    for item, answers in answered:
        for name, answer in answers.items():
            row_of = _correction_compared if study.task == "correct" else _comparison
            row, reason = row_of(study, item, answer)
            if row is not None:
                image = os.path.relpath(os.path.join(item.image["folder"], item.image["name"]), folder)  # type: ignore[index]
                row = {"id": f"{item.key}@{name}", "image": image, **row}
            exported.add(row, reason)
    return exported, folder


def _common_folder(items: Sequence[StudyItem]) -> Path | None:
    if any(item.image is None for item in items):
        raise DataError("LLaVA-RLHF's comparisons are about an image each; an item of this study has none")
    folders = {str(item.image["folder"]) for item in items if item.image is not None}
    return Path(os.path.commonpath(folders)) if folders else None


def _comparison(study: Study, item: StudyItem, answer: Answer) -> tuple[dict[str, Any] | None, str]:
    better = answer["better"]
    if better == "tie":
        return None, "a tie"
    worse = int(better == "first")
    hallucinates = bool(types_of("compare", answer, worse)) or answer["less_hallucinated"] == better
    return _conversation(item, item.texts, better == "second", hallucinates), ""


def _correction_compared(study: Study, item: StudyItem, answer: Answer) -> tuple[dict[str, Any] | None, str]:
    if answer["text"] == item.texts[0]:
        return None, "accepted as it is"
    swapped = bool(place_in_draw(study.seed, "comparison", item.key)[0] % 2)
    texts = [str(answer["text"]), item.texts[0]]
    return _conversation(item, texts[::-1] if swapped else texts, swapped, True), ""


def _conversation(item: StudyItem, texts: Sequence[str], second: bool, hallucination: bool) -> dict[str, Any]:
    return {
        "conversations": [{"from": "human", "value": f"<image>\n{item.prompt}"}],
        "output_1": {"from": "gpt", "value": texts[0]},
        "output_2": {"from": "gpt", "value": texts[1]},
        "preference": 2 if second else 1,
        "hallucination": hallucination,
    }


# --- rates and labels ---------------------------------------------------------------------------------------------


def labelled(study: Study) -> Iterator[tuple[StudyItem, dict[str, bool | None]]]:
    """Items with what the majority says: "hallucinates" and each type -> True, False, or None for a tie.

    Raises:
        DataError: for a study of comparisons, which does not say whether a response hallucinates.
    """
    if study.task == "compare":
        raise DataError(f"study {study.name!r} compares responses: rates and labels need marks or corrections")
    for item, answers in all_answers(study):
        types_per_annotator = [types_of(study.task, answer) for answer in answers.values()]
        voted: dict[str, bool | None] = {"hallucinates": _majority([bool(types) for types in types_per_annotator])}
        voted.update({kind: _majority([kind in types for types in types_per_annotator]) for kind in study.types})
        yield item, voted


def _majority(votes: Sequence[bool]) -> bool | None:
    share = sum(votes) / len(votes)
    return None if share == 0.5 else share > 0.5


def labels(study: Study, run: str | None = None) -> Exported:
    """Rows id, sample, label for `evalkit calibrate-judge`.

    Args:
        run: label of the run whose responses are meant; may be left out where the study has one run.
    Raises:
        DataError: if the study has several runs and none is named, or no such run; and as `labelled`.
    """
    names = [own.label for own in study.runs]
    if run is None and len(set(names)) > 1:
        raise DataError(f"study {study.name!r} has responses of {', '.join(names)}: name one with --run")
    if run is not None and run not in names:
        raise DataError(f"study {study.name!r} has no run {run!r}; it has {', '.join(names)}")
    exported = Exported()
    for item, voted in labelled(study):
        if run is not None and names[item.responses[0].run] != run:
            continue
        vote = voted["hallucinates"]
        row = None if vote is None else {"id": item.id, "sample": item.sample, "label": int(vote)}
        exported.add(row, "annotators are divided")
    return exported


def labels_of_run(study: Study, run: Run) -> dict[tuple[str, int], float]:
    """(item id, sample) -> 1.0 where the majority says that the run's response hallucinates, else 0.0.

    Raises:
        DataError: if no response of the study is the run's, or one of them has another text there.
    """
    texts = {(str(row["id"]), int(row["sample"])): row["response"]["text"] for row in run.rows}
    verdicts: dict[tuple[str, int], float] = {}
    for item, voted in labelled(study):
        key, source = (item.id, item.sample), study.runs[item.responses[0].run]
        if source.label != run.label or source.benchmark != run.benchmark:
            continue
        if texts.get(key) != item.texts[0]:
            raise DataError(
                f"study {study.name!r}: item {item.id!r} has another response than in {run.path}; the run was "
                "generated again since the study was drawn"
            )
        if voted["hallucinates"] is not None:
            verdicts[key] = float(voted["hallucinates"])
    if not verdicts:
        raise DataError(f"study {study.name!r} has no annotated response of {run.label!r} on {run.benchmark}")
    return verdicts


def mhumaneval(study: Study) -> dict[str, dict[str, Interval]]:
    """Model -> rate of responses that hallucinate, "all" and per type, in percent with intervals clustered by image.

    A type's rate leaves out responses on whose type annotators are divided. The authors report object, position, number
    and all; "all" also counts types without a column.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    clusters: dict[str, list[str]] = {}
    for item, voted in labelled(study):
        model = study.runs[item.responses[0].run].label
        counts = {"all": voted["hallucinates"], **{kind: voted[kind] for kind in study.types}}
        rows.setdefault(model, []).append(
            {f"yes_{place}": float(vote or 0) for place, vote in enumerate(counts.values())}
            | {f"said_{place}": float(vote is not None) for place, vote in enumerate(counts.values())}
        )
        clusters.setdefault(model, []).append(item.cluster)
    names = ["all", *study.types]
    metrics = [
        Metric(f"rate_{place}", f"100 * yes_{place} / said_{place}", higher_is_better=False)
        for place in range(len(names))
    ]
    values = {model: intervals(metrics, own, clusters[model]) for model, own in rows.items()}
    return {
        model: {name: rates[f"rate_{place}"] for place, name in enumerate(names)} for model, rates in values.items()
    }


def marked_segments(study: Study) -> Iterator[dict[str, Any]]:
    """One row per marked or changed segment, and one per clean response (without a span), of every annotator.

    Raises:
        DataError: for a study of comparisons.
    """
    if study.task == "compare":
        raise DataError(f"study {study.name!r} compares responses: segments need marks or corrections")
    for item, answers in all_answers(study):
        for name, answer in answers.items():
            common = {
                "item": item.id,
                "sample": item.sample,
                "model": study.runs[item.responses[0].run].label,
                "annotator": name,
                "response_sha256": hashlib.sha256(item.texts[0].encode("utf-8", errors="surrogatepass")).hexdigest(),
            }
            if study.task == "mark":
                spans = [tuple(span) for span in answer["spans"]]
            else:
                spans = [(start, end, kind) for start, end, _, _, kind in answer["segments"]]
            for start, end, kind in spans or [(None, None, None)]:
                yield {**common, "start": start, "end": end, "type": kind}

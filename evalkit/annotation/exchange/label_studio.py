"""Label Studio: a study as its tasks with a labelling configuration, and its results as answers. Formats only.

Tasks are a JSON list of {"data", "predictions"}; results come as its JSON export, {"data", "annotations"}. The
configuration uses Labels (mark), TextArea (correct) and Pairwise (compare). Label Studio runs in a browser, so its
positions are UTF-16 units; where a result quotes the marked text, the quote decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from evalkit.annotation.answers import CHOICES
from evalkit.annotation.segments import changed_segments, from_utf16, to_utf16
from evalkit.annotation.study import Study, StudyItem
from evalkit.errors import DataError
from evalkit.schema import Json

SIDES = {"left": "first", "right": "second"}


def config(study: Study) -> str:
    """The labelling configuration, XML."""
    head = '<Image name="image" value="$image" zoom="true"/><Text name="prompt" value="$prompt"/>'
    labels = "".join(f"<Label value={quoteattr(kind)}/>" for kind in study.types)
    if study.task == "compare":
        choices = "".join(f'<Choice value="{choice}"/>' for choice in CHOICES)
        body = (
            '<Text name="first" value="$first"/><Text name="second" value="$second"/>'
            '<Header value="Which hallucinates less?"/><Pairwise name="less_hallucinated" toName="first,second"/>'
            '<Choices name="undecided" toName="first" choice="single"><Choice value="tie"/></Choices>'
            '<Header value="Which is better overall?"/>'
            f'<Choices name="better" toName="first" choice="single" required="true">{choices}</Choices>'
        )
    else:
        body = (
            f'<Labels name="type" toName="response">{labels}</Labels>'
            '<Text name="response" value="$response" granularity="word" saveTextResult="yes"/>'
        )
        if study.task == "correct":
            body += '<TextArea name="corrected" toName="response" value="$response" rows="8" maxSubmissions="1"/>'
    return f"<View><Style>.htx-text {{ white-space: pre-wrap; }}</Style>{head}{body}</View>\n"


def tasks(study: Study, image_prefix: str = "") -> list[dict[str, Any]]:
    """Tasks to import into Label Studio; what the benchmark found is handed on as predictions.

    Args:
        image_prefix: address at which Label Studio finds the images by name, e.g. "/data/local-files/?d=images/".
    """
    return [_task(study, item, image_prefix) for item in study.items]


def _task(study: Study, item: StudyItem, image_prefix: str) -> dict[str, Any]:
    names = ("first", "second") if study.task == "compare" else ("response",)
    data: dict[str, Any] = {
        "key": item.key,
        "hashes": item.hashes,
        "prompt": item.prompt,
        **dict(zip(names, item.texts, strict=True)),
    }
    if item.image is not None:
        data["image"] = f"{image_prefix}{item.image['name']}"
    return {"data": data, "predictions": _predictions(study, item)}


def _predictions(study: Study, item: StudyItem) -> list[dict[str, Any]]:
    """The benchmark's hallucinated spans as the first type of the study; none for comparisons."""
    if study.task == "compare":
        return []
    text = item.texts[0]
    result = [
        {
            "id": f"finding{number}",
            "from_name": "type",
            "to_name": "response",
            "type": "labels",
            "value": {
                "start": to_utf16(text, finding["start"]),
                "end": to_utf16(text, finding["end"]),
                "text": text[finding["start"] : finding["end"]],
                "labels": [study.types[0]],
            },
        }
        for number, finding in enumerate(item.findings)
        if finding["label"] == "hallucinated"
    ]
    return [{"model_version": "benchmark", "result": result}] if result else []


def answers(study: Study, exported: Json) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """(annotator's id, item key, answer; None where it was skipped) for each annotation of a JSON export.

    Raises:
        DataError: if it is not such an export, an item is unknown, its response differs from the study's, or a result
            cannot be read; the number of the task, from 0, is named.
    """
    if not isinstance(exported, list):
        raise DataError("expected Label Studio's JSON export: a list of tasks")
    for number, task in enumerate(exported):
        try:
            item = study.item(str(task["data"]["key"]))
            if task["data"].get("hashes") not in (None, item.hashes):
                raise DataError("its response differs from the study's")
            for annotation in task.get("annotations") or []:
                who = annotation.get("completed_by")
                who = who.get("email", who.get("id")) if isinstance(who, Mapping) else who
                skipped = bool(annotation.get("was_cancelled"))
                yield str(who), item.key, None if skipped else _answer(study, item, annotation["result"])
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
            raise DataError(f"task {number}: {type(error).__name__}: {error}") from error


def _answer(study: Study, item: StudyItem, result: Sequence[Mapping[str, Json]]) -> dict[str, Any]:
    if study.task == "compare":
        return _compared(result)
    spans = [
        [*located(item.texts[0], value["start"], value["end"], value.get("text")), value["labels"][0]]
        for value in (part["value"] for part in result if part["type"] == "labels")
    ]
    if study.task == "mark":
        return {"spans": spans}
    texts = [part["value"]["text"] for part in result if part["type"] == "textarea"]
    written = texts[0] if texts else item.texts[0]
    corrected = written[0] if isinstance(written, list) else written
    return {"text": corrected, "types": typed_by_marks(study, item.texts[0], corrected, spans)}


def typed_by_marks(study: Study, text: str, corrected: str, spans: Sequence[Sequence[Json]]) -> list[str]:
    """A type for each changed segment: that of a mark on it, else "other" (the last type, if there is none)."""
    fallback = "other" if "other" in study.types else study.types[-1]
    return [
        next((kind for start, end, kind in spans if start < max(s.end, s.start + 1) and s.start < end), fallback)
        for s in changed_segments(text, corrected)
    ]


def _compared(result: Sequence[Mapping[str, Json]]) -> dict[str, Any]:
    said = {part["from_name"]: part["value"] for part in result}
    selected = said.get("less_hallucinated", {}).get("selected")
    less = SIDES[selected] if selected is not None else said["undecided"]["choices"][0]
    return {"less_hallucinated": less, "better": said["better"]["choices"][0], "wrong": []}


def located(text: str, start: Json, end: Json, quoted: Json = None) -> tuple[int, int]:
    """A span in code points, from one whose unit is unknown: where a quote is given, the reading that fits it.

    Raises:
        DataError: if the quote stands at neither reading of the positions.
    """
    first, last = int(start), int(end)
    browser = (from_utf16(text, first), from_utf16(text, last))
    if quoted is None or text[slice(*browser)] == quoted:
        return browser
    if text[first:last] == quoted:
        return first, last
    raise DataError(f"{quoted!r:.60} does not stand at {first}-{last} of the response")

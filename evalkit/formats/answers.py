"""Formats in which others keep responses: which fields hold the text, and which identify the item.

An answer offers keys of these kinds, best first; `importers` joins them to items by value, never by position:

    id        the item's own id
    image     an image's id, number or file name
    question  the question's text; also used to check a match by id
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from evalkit.errors import DataError
from evalkit.files.rows import Row

Kind = Literal["id", "image", "question"]
FAILED_TEXTS = ("Failed to obtain answer via API.",)  # what a peer writes in place of an answer


@dataclass(frozen=True, slots=True)
class Answer:
    """One response made elsewhere; exactly one of `text` and `failure` is set.

    sample  index among several responses to the same item
    keys    (kind, value) pairs that tell the item
    """

    where: str
    text: str | None
    failure: str | None
    sample: int
    keys: tuple[tuple[Kind, str], ...]


@dataclass(frozen=True, slots=True)
class Format:
    """How to read a row.

    marks     a file is of this format if its first row has a field of each group
    text      fields of the response, the first that is there counts
    keys      fields that tell the item, by kind
    lenient   numbers in place of texts (Excel cells), empty texts are failures (other tools write them for those)
    answer    for rows that are not flat; it replaces `text` and `keys`
    """

    name: str
    about: str
    marks: tuple[tuple[str, ...], ...]
    text: tuple[str, ...] = ()
    keys: tuple[tuple[Kind, tuple[str, ...]], ...] = ()
    lenient: bool = False
    answer: Callable[[Row], Answer] | None = None

    def named(self, name: str) -> "Format":
        """The same format under the name by which a benchmark's users know it."""
        return replace(self, name=name)

    def fits(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row looks like this format."""
        return all(any(name in fields for name in group) for group in self.marks)

    def read(self, row: Row) -> Answer:
        """The answer in a row.

        Raises:
            DataError: if the row has no text, no key, or one of another type.
        """
        if self.answer is not None:
            return self.answer(row)
        text = next((row.fields[name] for name in self.text if row.fields.get(name) is not None), None)
        if text is None and isinstance(row.fields.get("failure"), str):
            return Answer(row.where, None, row.fields["failure"], _sample(row), self._keys(row))
        if not self.lenient and not any(name in row.fields for name in self.text):
            raise DataError(f"{row.where}: no field {_either(self.text)}; found {_names(row.fields)}")
        return _answer(row, text, _sample(row), self._keys(row), self.lenient)

    def _keys(self, row: Row) -> tuple[tuple[Kind, str], ...]:
        keys = _found(row, self.keys)
        if not keys:
            wanted = [name for _, names in self.keys for name in names]
            raise DataError(f"{row.where}: no field {_either(wanted)}; found {_names(row.fields)}")
        return keys


def _answer(row: Row, text: Any, sample: int, keys: tuple[tuple[Kind, str], ...], lenient: bool) -> Answer:
    if lenient and (text is None or text in FAILED_TEXTS or (isinstance(text, str) and not text.strip())):
        return Answer(row.where, None, "no answer in the imported file", sample, keys)
    if lenient and isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise DataError(f"{row.where}: the response must be a text, found {_short(text)}")
    return Answer(row.where, text, None, sample, keys)


def _found(row: Row, wanted: Sequence[tuple[Kind, tuple[str, ...]]]) -> tuple[tuple[Kind, str], ...]:
    keys: list[tuple[Kind, str]] = []
    for kind, names in wanted:
        for name in names:
            if (value := row.fields.get(name)) is not None:
                keys.append((kind, key_text(value, f"{row.where}: {name!r}")))
                break
    return tuple(keys)


def key_text(value: Any, where: str) -> str:
    """A key as text: 7, 7.0 and "7" are the same one.

    Raises:
        DataError: if it is neither a text nor a whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise DataError(f"{where} must be a text or a whole number, found {_short(value)}")


def _sample(row: Row) -> int:
    sample = row.fields.get("sample", 0)
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
        raise DataError(f"{row.where}: 'sample' must be 0, 1, ..., found {_short(sample)}")
    return sample


def _lmms_answer(row: Row) -> Answer:
    """lmms-eval: the response is a text or nested in lists; ids stand in the tasks' own fields, not in doc_id.

    doc_id counts rows of a data set elsewhere and doc_hash is the same for all rows, so neither tells the item.
    """
    text: Any = row.fields.get("filtered_resps", row.fields.get("resps"))
    while isinstance(text, list) and len(text) == 1:
        text = text[0]
    inner = [value for value in row.fields.values() if isinstance(value, dict)]
    keys: list[tuple[Kind, str]] = []
    for fields in (row.fields, *inner):
        keys += _found(Row(row.where, fields), (("id", ("question_id", "id")), ("image", ("image_id",))))
    media = row.fields.get("input_media")
    first = media[0] if isinstance(media, list) and media else media
    if isinstance(first, str) and first:
        keys.append(("image", PurePosixPath(first).name))
    keys += _found(row, (("question", ("input", "question")),))
    if not keys:
        raise DataError(
            f"{row.where}: no field identifies the item: question_id, image_id, input_media or input "
            "(doc_id is a position)"
        )
    return _answer(row, text, 0, tuple(dict.fromkeys(keys)), lenient=True)


def _inspect_answer(row: Row) -> Answer:
    """inspect: id, epoch, output.completion; a sample with an error is a failure."""
    keys = _found(row, (("id", ("id",)),))
    if not keys:
        raise DataError(f"{row.where}: no field 'id'; found {_names(row.fields)}")
    if question := _asked(row.fields.get("input")):
        keys += (("question", question),)
    epoch = row.fields.get("epoch", 1)
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
        raise DataError(f"{row.where}: 'epoch' must be 1, 2, ..., found {_short(epoch)}")
    if row.fields.get("error") is not None:
        return Answer(row.where, None, f"inspect: {_short(row.fields['error'])}", epoch - 1, keys)
    output = row.fields.get("output")
    text = _completion(output) if isinstance(output, dict) else None
    return _answer(row, text, epoch - 1, keys, lenient=True)


def _completion(output: Mapping[str, Any]) -> Any:
    """The text of a model output: `completion`, else the first choice's message, a text or parts with texts."""
    if output.get("completion"):
        return output["completion"]
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return _content(message) if isinstance(message, dict) else None


def _content(message: Mapping[str, Any]) -> Any:
    """The text of a chat message, or its parts' texts together."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content


def _asked(given: Any) -> str:
    """The text of an inspect input: a text, or chat messages of which the user's count."""
    if isinstance(given, list):
        users = [turn for turn in given if isinstance(turn, dict) and turn.get("role") == "user"]
        return " ".join(text for text in map(_content, users) if isinstance(text, str)).strip()
    return given.strip() if isinstance(given, str) else ""


def _rlaifv_answer(row: Row) -> Answer:
    """Answers with question and image; older files keep the image's id in a record or a JSON text `metainfos`."""
    fields = dict(row.fields)
    if isinstance(fields.get("metainfos"), dict):
        fields = {**fields["metainfos"], **fields}
    wanted: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("image", ("image_id", "image")),
        ("id", ("question_id", "id")),
        ("question", ("question", "prompt")),
    )
    name = next((name for name in ("answer", "text", "model_answer") if name in fields), None)
    keys = _found(Row(row.where, fields), wanted)
    if name is None or not keys:
        needed = "'answer'" if name is None else "'image_id', 'question_id' or 'question'"
        raise DataError(f"{row.where}: no field {needed}; found {_names(row.fields)}")
    text = fields[name]
    if isinstance(text, str):
        text = text.replace("Assistant:", "").strip()  # as the authors' script does
    return _answer(row, text, 0, keys, lenient=False)


INSPECT = Format(
    "inspect", "inspect_ai log (.eval or dumped .json)", (("id",), ("output",), ("epoch",)), answer=_inspect_answer
)
LMMS_EVAL = Format("lmms-eval", "lmms-eval samples", (("filtered_resps", "resps"),), answer=_lmms_answer)
VLMEVALKIT = Format(
    "vlmevalkit",
    "VLMEvalKit prediction table",
    (("index",), ("question",)),
    ("prediction",),
    (("id", ("id", "index")), ("image", ("image_path",)), ("question", ("question",))),
    lenient=True,
)
FILLED_TEMPLATE = Format(
    "filled-template",
    "records with image_id and model_answer",
    (("model_answer",), ("image_id",)),
    ("model_answer",),
    (("image", ("image_id",)), ("question", ("question",))),
)
CAPTIONS = Format(
    "captions", "image_id and caption", (("caption",), ("image_id",)), ("caption",), (("image", ("image_id",)),)
)
RESPONSES = Format("responses", "id and response", (("id",), ("response",)), ("response",), (("id", ("id",)),))
IMAGE_ANSWERS = Format(
    "image-answers",
    "answers with image_id or metainfos",
    (("answer", "text"), ("image_id", "metainfos")),
    answer=_rlaifv_answer,
)
LLAVA = Format(
    "llava",
    "question_id and text",
    (("question_id",), ("text",)),
    ("text",),
    (("id", ("question_id",)), ("question", ("prompt",))),
)
QUESTION_ANSWERS = Format(
    "question-answers",
    "question_id or question, and answer",
    (("answer",), ("question_id", "question")),
    ("answer",),
    (("id", ("question_id",)), ("image", ("image",)), ("question", ("question", "text"))),
)
PLAIN = Format("plain", "id and text", (("id",), ("text", "failure")), ("text",), (("id", ("id",)),))

# In the order in which a file's first row is tried; a benchmark's own formats come before them.
FORMATS: tuple[Format, ...] = (
    *(INSPECT, LMMS_EVAL, VLMEVALKIT, FILLED_TEMPLATE, CAPTIONS),
    *(RESPONSES, IMAGE_ANSWERS, LLAVA, QUESTION_ANSWERS, PLAIN),
)


def format_named(name: str, own: Sequence[Format] = ()) -> Format:
    """A format of the table, or one of a benchmark's own.

    Raises:
        DataError: if there is none of that name.
    """
    known = {entry.name: entry for entry in (*FORMATS, *own)}
    if name not in known:
        raise DataError(f"unknown format {name!r}; known: {', '.join(known)}")
    return known[name]


def detect(row: Row, own: Sequence[Format] = ()) -> Format:
    """The first format that fits a file's first row; a benchmark's own come first.

    Raises:
        DataError: if none does.
    """
    found = next((entry for entry in (*own, *FORMATS) if entry.fits(row.fields)), None)
    if found is None:
        known = "; ".join(f"{entry.name}: {entry.about}" for entry in (*own, *FORMATS))
        raise DataError(f"{row.where}: no known format has the fields {_names(row.fields)}; known: {known}")
    return found


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(fields)[:10]) or "nothing"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."

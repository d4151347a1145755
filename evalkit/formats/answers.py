"""Formats in which others keep responses: which fields hold the text, and which identify the item.

An answer offers keys of these kinds, best first; `importers` joins them to items by value, never by position:

    id        the item's own id, or a counter of somebody's list
    image     an image's id, number or file name
    hint      an image's file name in a field that may mean something else
    question  the question's text; also used to check a match by id
    part      names of parts of the benchmark, e.g. "random,popular"

One rule says which responses there are, whatever the format: null, NaN, a blank cell of a table and an absent field are
failed responses, for a table has no other way to say so. A JSON text is a response even if it is empty, except from
tools that write an empty text for a failure (`lenient`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from evalkit.errors import DataError
from evalkit.files.rows import ID_OF_MAPPING, TEXT_OF_MAPPING, Row, parse_json
from evalkit.formats.keys import IDS, IMAGES, PARTS, QUESTIONS, Kind, found_keys, missing

FAILED_TEXTS = ("Failed to obtain answer via API.",)  # what a peer writes in place of an answer
HOW_TO_MARK = "null, an empty cell, or a field 'failure' with the reason marks a failed response"

SHOWN = 6  # names of fields in an error

OUTPUTS = (  # names that nobody gives to a reference
    *("response", "prediction", "model_answer", "model_output", "model_response", "pred", "predict", "output"),
    *("outputs", "generated_text", "generation", "completion"),
)
TEXTS = (*OUTPUTS, "caption", "text", "answer")  # beside an output, `answer` and `caption` are references


@dataclass(frozen=True, slots=True)
class Answer:
    """One response made elsewhere; exactly one of `text` and `failure` is set.

    sample  index among several responses to the same item
    keys    (kind, value) pairs that tell the item
    absent  the failure is that the row has no response
    """

    where: str
    text: str | None
    failure: str | None
    sample: int
    keys: tuple[tuple[Kind, str], ...]
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """How to read a row.

    marks     a file is of this format if its first row has a field of each group
    unless    and none of these
    text      fields of the response, the first that is there counts
    keys      fields that tell the item, by kind
    lenient   numbers in place of texts (Excel cells), blank texts are failures (other tools write them for those)
    answer    for rows that are not flat; it replaces `text` and `keys`
    """

    name: str
    about: str
    marks: tuple[tuple[str, ...], ...]
    text: tuple[str, ...] = ()
    keys: tuple[tuple[Kind, tuple[str, ...]], ...] = ()
    lenient: bool = False
    answer: Callable[[Row], Answer] | None = None
    unless: tuple[str, ...] = ()

    def named(self, name: str) -> "Format":
        """The same format under the name by which a benchmark's users know it."""
        return replace(self, name=name)

    def fits(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row looks like this format."""
        return all(any(name in fields for name in group) for group in self.marks) and not any(
            name in fields for name in self.unless
        )

    def read(self, row: Row) -> Answer:
        """The answer in a row.

        Raises:
            DataError: if the row has no text, no key, or one of another type.
        """
        if self.answer is not None:
            return self.answer(row)
        name = next((name for name in self.text if not missing(row.fields.get(name))), None)
        failure = row.fields.get("failure")
        if name is None and isinstance(failure, str) and failure.strip():
            return Answer(row.where, None, failure, _sample(row), self._keys(row))
        text = None if name is None else row.fields[name]
        return _answer(row, text, _sample(row), self._keys(row), self.lenient, _either(self.text))

    def _keys(self, row: Row) -> tuple[tuple[Kind, str], ...]:
        keys = found_keys(row, self.keys)
        if not any(kind != "part" for kind, _ in keys):
            wanted = [name for kind, names in self.keys for name in names if kind != "part"]
            raise DataError(
                f"{row.where}: no field {_either(wanted)} that identifies the item; found {_names(row.fields)}"
            )
        return keys


def _answer(
    row: Row,
    text: Any,
    sample: int,
    keys: tuple[tuple[Kind, str], ...],
    lenient: bool = False,
    wanted: str = "that holds a response",
) -> Answer:
    if lenient and isinstance(text, str) and (not text.strip() or text in FAILED_TEXTS):
        text = None
    if missing(text):
        failure = f"no response in {row.where}, field {wanted} ({HOW_TO_MARK})"
        return Answer(row.where, None, failure, sample, keys, absent=True)
    if lenient and isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise DataError(f"{row.where}: the response must be a text, found {_short(text)}; {HOW_TO_MARK}")
    return Answer(row.where, text, None, sample, keys)


def _sample(row: Row) -> int:
    sample = row.fields.get("sample", 0)
    if isinstance(sample, str) and sample.strip().isdecimal():  # a cell of a table
        sample = int(sample)
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
        keys += found_keys(Row(row.where, fields), (("id", ("question_id", "id")), ("image", IMAGES), ("part", PARTS)))
    media = row.fields.get("input_media")
    first = media[0] if isinstance(media, list) and media else media
    if isinstance(first, str) and first:
        keys.append(("image", PurePosixPath(first).name))
    keys += found_keys(row, (("question", ("input", "question")),))
    if not any(kind != "part" for kind, _ in keys):
        raise DataError(
            f"{row.where}: no field identifies the item: question_id, image_id, input_media or input "
            "(doc_id is a position)"
        )
    return _answer(row, text, 0, tuple(dict.fromkeys(keys)), lenient=True)


def _inspect_answer(row: Row) -> Answer:
    """inspect: id, epoch, output.completion; a sample with an error is a failure."""
    keys = found_keys(row, (("id", ("id",)),))
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


def _asked(question: Any) -> str:
    """The text of an inspect input: a text, or chat messages of which the user's count."""
    if isinstance(question, list):
        users = [turn for turn in question if isinstance(turn, dict) and turn.get("role") == "user"]
        return " ".join(text for text in map(_content, users) if isinstance(text, str)).strip()
    return question.strip() if isinstance(question, str) else ""


def _rlaifv_answer(row: Row) -> Answer:
    """Answers with question and image; older files keep the image's id in a record or a JSON text `metainfos`."""
    fields = dict(row.fields)
    about = fields.get("metainfos")
    if isinstance(about, str) and about.lstrip().startswith("{"):
        about = parse_json(about, f"{row.where}: 'metainfos'")
    if isinstance(about, dict):
        fields = {**about, **fields}
    wanted: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("image", ("image_id", "image")),
        ("id", ("question_id", "id")),
        ("question", ("question", "prompt")),
        ("part", PARTS),
    )
    name = next((name for name in ("answer", "text", "model_answer") if name in fields), None)
    keys = found_keys(Row(row.where, fields), wanted)
    if name is None or not keys:
        needed = "'answer'" if name is None else "'image_id', 'question_id' or 'question'"
        raise DataError(f"{row.where}: no field {needed}; found {_names(row.fields)}")
    text = fields[name]
    if isinstance(text, str):
        text = text.replace("Assistant:", "").strip()  # as the authors' script does
    return _answer(row, text, _sample(row), keys)


INSPECT = Format(
    "inspect", "inspect_ai log (.eval or dumped .json)", (("id",), ("output",), ("epoch",)), answer=_inspect_answer
)
LMMS_EVAL = Format("lmms-eval", "lmms-eval samples", (("filtered_resps", "resps"),), answer=_lmms_answer)
VLMEVALKIT = Format(
    "vlmevalkit",
    "VLMEvalKit prediction table",
    (("index",), ("question",)),
    ("prediction",),
    (("id", ("id", "index")), ("image", ("image_path",)), ("question", ("question",)), ("part", PARTS)),
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
    "captions",
    "image_id and caption",
    (("caption",), ("image_id", "image")),
    ("caption",),
    (("image", IMAGES),),
    unless=OUTPUTS,
)
RESPONSES = Format(
    "responses",
    "id and response",
    (("id",), ("response",)),
    ("response",),
    (("id", ("id",)), ("image", IMAGES), ("question", QUESTIONS), ("part", PARTS)),
)
IMAGE_ANSWERS = Format(
    "image-answers",
    "answers with image_id or metainfos",
    (("answer", "text"), ("image_id", "metainfos")),
    answer=_rlaifv_answer,
    unless=OUTPUTS,
)
LLAVA = Format(
    "llava",
    "question_id and text",
    (("question_id",), ("text",)),
    ("text",),
    (("id", ("question_id",)), ("image", IMAGES), ("question", ("prompt", "question")), ("part", PARTS)),
    unless=OUTPUTS,
)
QUESTION_ANSWERS = Format(
    "question-answers",
    "question_id or question, and answer",
    (("answer",), ("question_id", "question")),
    ("answer",),
    (("id", ("question_id", "id")), ("image", IMAGES), ("question", ("question", "text")), ("part", PARTS)),
    unless=OUTPUTS,
)
JOURNAL = Format(
    "journal",
    "a run's own responses",
    (("id",), ("sample",), ("finish", "failure")),
    ("text",),
    (("id", ("id",)),),
)
PLAIN = Format(
    "plain",
    "id and text",
    (("id",), ("text", "failure")),
    ("text",),
    (("id", ("id",)), ("image", IMAGES), ("question", QUESTIONS), ("part", PARTS)),
    unless=OUTPUTS,
)
MAPPING = Format(
    "mapping",
    "one object {id: text}",
    ((ID_OF_MAPPING,), (TEXT_OF_MAPPING,)),
    (TEXT_OF_MAPPING,),
    (("id", (ID_OF_MAPPING,)), ("image", (ID_OF_MAPPING,))),
)
FIELDS = Format(
    "fields",
    "a response under one of the usual names, and something that identifies the item",
    (TEXTS, (*IDS, *IMAGES)),
    TEXTS,
    (("id", IDS), ("image", IMAGES), ("question", QUESTIONS), ("part", PARTS)),
)

# In the order in which a file's first row is tried; a benchmark's own formats come before them.
FORMATS: tuple[Format, ...] = (
    *(INSPECT, LMMS_EVAL, VLMEVALKIT, FILLED_TEMPLATE, CAPTIONS),
    *(RESPONSES, IMAGE_ANSWERS, LLAVA, QUESTION_ANSWERS, JOURNAL, PLAIN, MAPPING, FIELDS),
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
    fitting = next((entry for entry in (*own, *FORMATS) if entry.fits(row.fields)), None)
    if fitting is None:
        known = "; ".join(f"{entry.name}: {entry.about}" for entry in (*own, *FORMATS))
        raise DataError(f"{row.where}: no known format has the fields {_names(row.fields)}; known: {known}")
    return fitting


def _either(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return " or ".join(map(repr, names[:SHOWN])) + more


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(fields)[:10]) or "nothing"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."

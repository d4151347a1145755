"""A study: a folder that holds what annotators look at, frozen, and what they said.

study.json      task, types, what is shown, annotators, the runs it was drawn from, hash of the items
items.jsonl     the items with the very responses: a run that is generated again does not change a study
guideline.md    instructions to annotators; Markdown, may be edited while the study is open
gold.jsonl      answers that are known, for an annotator's accuracy; never shown
tokens.json     one secret per annotator and one for the owner; readable by the owner of the folder only
journals/       one append-only journal per annotator (`evalkit.annotation.journal`)
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.annotation.answers import TASKS, Task, checked_answer
from evalkit.errors import DataError, EvalkitError, RecordError
from evalkit.files.atomic import replaced
from evalkit.runs.records import read_journal, read_json, write_json, write_jsonl
from evalkit.schema import Json

SCHEMA = 1
STUDY, ITEMS, GUIDELINE, GOLD, TOKENS, JOURNALS = (
    "study.json", "items.jsonl", "guideline.md", "gold.jsonl", "tokens.json", "journals",
)  # fmt: skip
OWNER = "owner"  # whoever made the study: sees agreement, adjudicates
ADJUDICATOR = "adjudicated"  # journal of what was decided where annotators disagree

# RLHF-V (arXiv:2312.00849); Zina (arXiv:2506.13130), its six as a secondary source lists them
TYPES: Mapping[str, tuple[str, ...]] = {
    "rlhf-v": ("object", "position", "number", "attribute", "action", "other"),
    "zina": ("object", "color", "quantity", "relation", "text", "factual"),
}
SHOWN = ("reference", "boxes", "findings")  # what a study may show beside image, prompt and response
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class StudyResponse:
    """A response as it was when the study was drawn: text, its hash, and the run it came from (not shown)."""

    text: str
    hash: str
    run: int


@dataclass(frozen=True, slots=True)
class StudyItem:
    """One thing to look at.

    key         unique in the study
    id, sample  the item and sample of the run
    image       {"folder", "name"}, None without one
    responses   one; two for comparisons, in the order in which they are shown
    cluster     what the bootstrap resamples: the image, as a rule
    objects     reference objects; `boxes` where they are: {"object", "x", "y", "width", "height"}, shares of the image
    findings    {"start", "end", "label", "note"} of the first response, as the benchmark found them
    shared      whether every annotator gets it, for agreement
    """

    key: str
    id: str
    sample: int
    prompt: str
    image: Mapping[str, Json] | None
    responses: tuple[StudyResponse, ...]
    cluster: str
    groups: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    boxes: tuple[Mapping[str, Json], ...] = ()
    findings: tuple[Mapping[str, Json], ...] = ()
    shared: bool = False

    @property
    def texts(self) -> list[str]:
        """Texts of its responses."""
        return [response.text for response in self.responses]

    @property
    def hashes(self) -> list[str]:
        """Hashes of its responses: every line of a journal carries them."""
        return [response.hash for response in self.responses]


@dataclass(frozen=True)
class StudyRun:
    """A run that items were drawn from; `records` is the SHA-256 of its records.jsonl at that time."""

    label: str
    benchmark: str
    path: str
    records: str


@dataclass(frozen=True)
class Study:
    """What a study folder holds, journals and secrets aside.

    types       types of hallucination that can be given
    show        which of SHOWN annotators see
    annotators  names, in order
    gold        item key -> known answer
    """

    folder: Path
    task: Task
    types: tuple[str, ...]
    show: tuple[str, ...]
    annotators: tuple[str, ...]
    seed: int
    runs: tuple[StudyRun, ...]
    items: tuple[StudyItem, ...]
    gold: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @cached_property
    def by_key(self) -> dict[str, StudyItem]:
        """Items by key."""
        return {item.key: item for item in self.items}

    def item(self, key: str) -> StudyItem:
        """An item.

        Raises:
            DataError: if the study has no such item.
        """
        if key not in self.by_key:
            raise DataError(f"study {self.name!r} has no item {key!r:.80}")
        return self.by_key[key]

    @property
    def guideline(self) -> str:
        """The instructions to annotators as they are now; "" if the file is gone."""
        try:
            return (self.folder / GUIDELINE).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def assigned(self, annotator: str) -> list[StudyItem]:
        """The items of an annotator in the order in which they come: shared ones and gold ones, and a part of the rest.

        The order is drawn for each annotator, so that shared items do not all come first.

        Raises:
            DataError: for an unknown annotator.
        """
        if annotator not in self.annotators:
            raise DataError(
                f"study {self.name!r} has no annotator {annotator!r:.60}; it has {', '.join(self.annotators)}"
            )
        place, count = self.annotators.index(annotator), len(self.annotators)
        own = [item for item in self.items if item.shared or item.key in self.gold]
        rest = [item for item in self.items if not (item.shared or item.key in self.gold)]
        return sorted([*own, *rest[place::count]], key=lambda item: place_in_draw(self.seed, annotator, item.key))

    @cached_property
    def tokens(self) -> dict[str, str]:
        """Secrets by annotator, and the owner's.

        Raises:
            RecordError: if the file is absent or malformed.
        """
        tokens = read_json(self.folder / TOKENS)
        if not all(isinstance(token, str) and len(token) >= 20 for token in tokens.values()):
            raise RecordError(f"{self.folder / TOKENS}: expected a text of 20 characters or more for each annotator")
        return tokens

    def who(self, token: str | None) -> str | None:
        """Whose token this is, compared in constant time; None for nobody's."""
        presented = (token or "").encode("utf-8", errors="replace")
        owner = None
        for name, secret in self.tokens.items():  # all of them, whichever matches: time must not tell
            if secrets.compare_digest(presented, secret.encode("utf-8")):
                owner = name
        return owner


def text_hash(text: str) -> str:
    """Hash of a response, 16 hex digits."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def place_in_draw(*words: object) -> bytes:
    """A place in a random order that depends on these words only."""
    return hashlib.sha256("\x00".join(map(str, words)).encode("utf-8", errors="surrogatepass")).digest()


def types_named(name: str) -> tuple[str, ...]:
    """A set of TYPES by name, or types separated by commas.

    Raises:
        DataError: if there are fewer than one or more than twelve, or one is not a word.
    """
    types = TYPES.get(name) or tuple(dict.fromkeys(word.strip() for word in name.split(",") if word.strip()))
    if not 1 <= len(types) <= 12 or not all(word.isprintable() and len(word) <= 30 for word in types):
        raise DataError(f"types {name!r}: expected {' or '.join(TYPES)}, or 1 to 12 words separated by commas")
    return types


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of annotators, fit for file names.

    Raises:
        DataError: if one is not, is taken, or comes twice.
    """
    taken = {OWNER, ADJUDICATOR}
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() in taken:
            raise DataError(
                f"annotator {name!r:.60}: expected letters, digits, - and _; each once, not {OWNER} or {ADJUDICATOR}"
            )
        taken.add(name.lower())
    if not names:
        raise DataError("a study needs an annotator")
    return tuple(names)


def write_study(study: Study, guideline: str) -> None:
    """Write a new study folder.

    Raises:
        DataError: if the folder holds a study already, or a gold answer is not of the study's form.
        RecordError: if it cannot be written.
    """
    folder = study.folder
    if (folder / STUDY).exists():
        raise DataError(f"{folder} holds a study already: open it with --study, or choose another folder")
    try:
        (folder / JOURNALS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    gold = [{"item": key, "answer": _gold(study, key, answer)} for key, answer in study.gold.items()]
    write_jsonl(folder / ITEMS, (asdict(item) for item in study.items))
    if gold:
        write_jsonl(folder / GOLD, iter(gold))
    with replaced(folder / GUIDELINE) as beside:
        beside.write_text(guideline, "utf-8")
    write_tokens(folder, study.annotators)
    head = {
        "schema": SCHEMA,
        "task": study.task,
        "types": study.types,
        "show": study.show,
        "annotators": study.annotators,
        "seed": study.seed,
        "runs": [asdict(run) for run in study.runs],
        "items": len(study.items),
        "items_sha256": file_hash(folder / ITEMS),
    }
    write_json(folder / STUDY, head)  # last: without it there is no study


def write_tokens(folder: Path, annotators: Iterable[str]) -> None:
    """Draw new secrets; links with the old ones stop working."""
    path = folder / TOKENS
    path.touch(mode=0o600)
    with replaced(path) as beside:
        beside.touch(mode=0o600)
        beside.write_text(
            json.dumps({name: secrets.token_urlsafe(24) for name in [OWNER, *annotators]}, indent=1), "utf-8"
        )
        beside.chmod(0o600)


def read_study(folder: Path) -> Study:
    """Read a study folder.

    Raises:
        RecordError: if it is not a study, is of another schema, or a file of it is damaged or was changed.
    """
    head = read_json(folder / STUDY)
    if head.get("schema") != SCHEMA:
        raise RecordError(f"{folder / STUDY}: schema version {head.get('schema')!r}; this evalkit reads {SCHEMA}")
    if head.get("items_sha256") != file_hash(folder / ITEMS):
        raise RecordError(
            f"{folder / ITEMS} is not the file that the study was made with: answers would refer to other texts"
        )
    try:
        study = Study(
            folder,
            _one_of(head["task"], TASKS),
            tuple(map(str, head["types"])),
            tuple(str(name) for name in head["show"] if name in SHOWN),
            check_names(head["annotators"]),
            int(head["seed"]),
            tuple(StudyRun(**run) for run in head["runs"]),
            tuple(_item(row) for row in read_journal(folder / ITEMS)),
        )
        gold = {str(row["item"]): _gold(study, str(row["item"]), row["answer"]) for row in read_journal(folder / GOLD)}
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        raise RecordError(f"{folder}: the study is damaged ({type(error).__name__}: {error})") from error
    object.__setattr__(study, "gold", gold)
    return study


def read_gold(path: Path) -> dict[str, Mapping[str, Json]]:
    """Known answers: JSON Lines with item and answer.

    Raises:
        DataError: if the file is absent, a line is of another form, or an item comes twice.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    gold: dict[str, Mapping[str, Json]] = {}
    for number, row in enumerate(read_journal(path), 1):
        key, answer = row.get("item"), row.get("answer")
        if not isinstance(key, str) or not isinstance(answer, dict) or key in gold:
            raise DataError(f"{path}:{number}: expected an item, once, and its answer")
        gold[key] = answer
    return gold


def is_study(path: Path) -> bool:
    """Whether a folder holds a study."""
    return (path / STUDY).is_file()


def changed_runs(study: Study) -> list[StudyRun]:
    """Runs whose records are no longer those that the study was drawn from; one that is gone counts."""
    changed = []
    for run in study.runs:
        try:
            same = file_hash(Path(run.path) / "records.jsonl") == run.records
        except EvalkitError:
            same = False
        if not same:
            changed.append(run)
    return changed


def _gold(study: Study, key: str, answer: Json) -> dict[str, Any]:
    return checked_answer(study.task, answer, study.item(key).texts, study.types)


def _item(row: Mapping[str, Json]) -> StudyItem:
    responses = tuple(StudyResponse(str(r["text"]), str(r["hash"]), int(r["run"])) for r in row["responses"])
    if any(response.hash != text_hash(response.text) for response in responses):
        raise ValueError(f"item {row['key']!r:.60}: a response does not have its hash")
    fields: dict[str, Any] = {**row, "responses": responses}
    for name in ("objects", "boxes", "findings"):
        fields[name] = tuple(fields[name])
    return StudyItem(**fields)


def _one_of(value: Json, known: Sequence[Task]) -> Task:
    for word in known:
        if value == word:
            return word
    raise ValueError(f"task is {value!r:.40}, expected one of {', '.join(known)}")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        RecordError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error

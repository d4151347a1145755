"""Published preference data as pairs: RLHF-V-Dataset, RLAIF-V-Dataset, and our own pairs files.

    RLHF-V-Dataset    columns image {bytes, path}, text (JSON: question, chosen, rejected), ds_name, idx, ...
    RLAIF-V-Dataset   columns image {bytes, path}, question, chosen, rejected, ds_name, idx, ...
    POVID, VLFeedback their own forms: see `aligners.preference.published`
    other trainers    TRL, LLaMA-Factory, ms-swift: see `aligners.preference.exchange`

Rows come from Parquet files (one, a folder of them, or a data set's name on the Hub), from folders of `datasets`'
save_to_disk, from JSON lines, CSV or TSV; plain lines {image, prompt, chosen, rejected} need no id. An image is
embedded (bytes, base64) or a path. Embedded images are written out once, named after their content.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aligners.preference.exchange import form_of, pair_from
from aligners.preference.pairs import IMAGE_COLUMNS, MARKER, Pair, read_pairs, refuse_several_images, without_thoughts
from aligners.preference.published import is_povid, is_vlfeedback, povid_texts, vlfeedback_texts
from aligners.preference.saved_folders import is_saved_folder, saved_rows
from evalkit.annotation.exports import pairs as pairs_of
from evalkit.annotation.study import is_study, read_study
from evalkit.errors import DataError
from evalkit.files.embedded import embedded_bytes, store_embedded
from evalkit.files.rows import Row, parse_json, read_rows

_TEXTS = ("question", "chosen", "rejected")
_META = ("ds_name", "origin_dataset", "origin_split", "idx")


def read_preferences(source: Path | str, image_folder: Path, omissions: int = 0) -> list[Pair]:
    """Pairs of a file, folder or Hub data set; each knows where its image lies.

    Args:
        source: .parquet, .jsonl, .json, .csv, .tsv; a folder of Parquet files; a study that people corrected or
            compared (`evalkit annotate`); or a Hub name such as "org/name".
        image_folder: embedded images are written there.
        omissions: of a study of corrections, see `evalkit.annotation.exports.pairs`.
    Raises:
        DataError: if it is absent, has other columns, or a row is malformed; file and row are named.
    """
    path = Path(source)
    if is_study(path):
        return _study_pairs(path, omissions)
    return [without_thoughts(pair) for pair in _read(source, path, image_folder, omissions)]


def _read(source: Path | str, path: Path, image_folder: Path, omissions: int) -> list[Pair]:
    if omissions:
        raise DataError(f"{path} is no study: only there is it known which sentences somebody accepted")
    if path.suffix == ".jsonl" and _is_pairs_file(path):
        return [_with_file(pair, image_folder.resolve(), path) for pair in read_pairs(path)]
    if path.is_dir() and is_saved_folder(path):
        files = [path]
    elif path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        if not files:
            raise DataError(f"{path}: no Parquet file in this folder")
    elif path.is_file():
        files = [path]
    else:
        files = _download(str(source))
    embedded = image_folder.resolve()
    pairs: list[Pair] = []
    seen: set[str] = set()
    for file in files:
        for number, row in enumerate(saved_rows(file) if file.is_dir() else read_rows(file)):
            for pair in _pairs_of(row, number, embedded, file.parent.resolve()):
                unique = f"{pair.id}#{len(pairs)}" if pair.id in seen else pair.id
                seen.add(unique)
                pairs.append(replace(pair, id=unique, folder=embedded))
    return pairs


def _pairs_of(row: Row, number: int, image_folder: Path, relative_to: Path) -> list[Pair]:
    """The pairs of a row in any form; several for rated completions."""
    refuse_several_images(row.fields, row.where, _asked(row.fields))
    if is_vlfeedback(row.fields):
        image = _image(row, image_folder, relative_to)
        rated = vlfeedback_texts(row)
        name = str(row.fields.get("id") or _hash(row.fields["prompt"]))
        return [Pair(f"{name}-{part}", image, t["question"], t["chosen"], t["rejected"]) for part, t in rated]
    if is_povid(row.fields):
        texts = povid_texts(row)
        name = str(row.fields.get("id") or _hash(*texts.values()))
        image = _image(row, image_folder, relative_to)
        return [Pair(name, image, texts["question"], texts["chosen"], texts["rejected"])]
    return [_exchanged(row, number, image_folder, relative_to) or pair_of(row, image_folder, relative_to)]


def _study_pairs(path: Path, omissions: int) -> list[Pair]:
    """Pairs of a study of corrections or comparisons (`evalkit annotate`); image paths are absolute.

    Raises:
        DataError: if it holds marks, or nothing was corrected or preferred yet.
    """
    exported = pairs_of(read_study(path), omissions)
    if not exported.rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in exported.left_out.items())
        raise DataError(f"{path}: the study has no pair yet{f' ({reasons})' if reasons else ''}")
    return [Pair(**row, folder=path.resolve()) for row in exported.rows]


def _with_file(pair: Pair, image_folder: Path, path: Path) -> Pair:
    """A pair of our own format whose image may stand in it as a data URL or as base64."""
    where = f"{path}: pair {pair.id!r}: image"
    data = embedded_bytes(pair.image, where)
    if data is None:
        return pair
    stored = store_embedded(data, image_folder, where)
    return replace(pair, image=str(stored.folder / stored.name))


def _exchanged(row: Row, number: int, image_folder: Path, relative_to: Path) -> Pair | None:
    """The pair of a row in another trainer's form; its image is a path, or embedded as a text."""
    images = row.fields.get("images")
    held = images[0] if isinstance(images, list) and len(images) == 1 else None
    fields = row.fields
    if form_of(fields) is not None and isinstance(held, Mapping) and held.get("bytes") is not None:
        where = f"{row.where}: image"
        kept = store_embedded(embedded_bytes(held, where) or b"", image_folder, where)
        fields = {**fields, "images": [str(kept.folder / kept.name)]}
    pair = pair_from(fields, row.where, number)
    if pair is None or pair.image is None:
        return pair
    where = f"{row.where}: image"
    data = embedded_bytes(pair.image, where)
    name = str(relative_to / pair.image) if data is None else store_embedded(data, image_folder, where).name
    return replace(pair, image=name)


def pair_of(row: Row, image_folder: Path, relative_to: Path) -> Pair:
    """One row of either data set.

    Args:
        row: with its place for error messages.
        image_folder: where an embedded image is written.
        relative_to: folder at which a relative image path begins.
    Raises:
        DataError: if columns are missing or of another kind.
    """
    texts = _texts(row)
    meta = {name: _plain(row.fields[name]) for name in _META if row.fields.get(name) is not None}
    if not any(name in row.fields for name in IMAGE_COLUMNS):
        raise DataError(
            f"{row.where}: no column image (null for a pair without one); found {', '.join(sorted(row.fields))}"
        )
    image = _image(row, image_folder, relative_to)
    return Pair(_id(row, texts), image, _without_marker(texts["question"]), texts["chosen"], texts["rejected"], meta)


def _texts(row: Row) -> dict[str, str]:
    """question, chosen and rejected, from columns of their own or from the JSON column `text`."""
    fields: Mapping[str, Any] = row.fields
    if "question" not in fields and "prompt" in fields:  # a plain line without id
        fields = {**fields, "question": fields["prompt"]}
    if not all(name in fields for name in _TEXTS) and isinstance(fields.get("text"), str):
        value = parse_json(fields["text"], f"{row.where}, column text")
        if isinstance(value, list):  # the older form: [question, chosen, rejected, ...]
            value = dict(zip(_TEXTS, value, strict=False))
        fields = value if isinstance(value, dict) else {}
    fields = {**fields, "question": fields.get("question", fields.get("prompt"))}
    fields = {**fields, **{name: _spoken(fields.get(name)) for name in _TEXTS}}
    wrong = sorted(name for name in _TEXTS if not isinstance(fields.get(name), str))
    if wrong:
        raise DataError(
            f"{row.where}: expected texts question, chosen and rejected (as columns, or as JSON in a column text); "
            f"wrong or missing: {', '.join(wrong)}; columns found: {', '.join(sorted(row.fields))}"
        )
    return {name: fields[name] for name in _TEXTS}


def _asked(fields: Mapping[str, Any]) -> list[str]:
    """What a user asks in each column of a row that holds it, with "<image>" where a message shows one."""
    asked = [fields[name] for name in ("question", "prompt") if isinstance(fields.get(name), str)]
    for name in ("prompt", "messages", "conversations"):
        turns = fields[name] if isinstance(fields.get(name), list) else []
        said = [_shown(turn) for turn in turns if isinstance(turn, dict) and _speaker(turn) in ("user", "human")]
        asked.append("\n".join(said))
    return asked


def _speaker(turn: Mapping[str, Any]) -> Any:
    return turn.get("role", turn.get("from"))


def _shown(turn: Mapping[str, Any]) -> str:
    """The text of a message, with "<image>" in the place of its images."""
    content = turn.get("content", turn.get("value"))
    parts = content if isinstance(content, list) else [{"text": content}]
    blocks = [part for part in parts if isinstance(part, dict)]
    return "\n".join(MARKER if block.get("type") == "image" else str(block.get("text") or "") for block in blocks)


def _spoken(value: Any) -> Any:
    """The text of chat messages, as TRL keeps prompts and responses; anything else as it is."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return value
    texts = []
    for turn in value:
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts)


def _without_marker(question: str) -> str:
    """LLaVA's data writes "<image>\\n" before or after a question; the chat template places the image itself."""
    return question.replace(MARKER, "").strip()


def _id(row: Row, texts: Mapping[str, str]) -> str:
    """ds_name and idx where the row has them, else its id, else a hash of its texts."""
    if row.fields.get("idx") is not None:
        return f"{row.fields.get('ds_name') or 'row'}-{row.fields['idx']}"
    own = row.fields.get("id")
    return own if isinstance(own, str) and own else _hash(*(texts[name] for name in _TEXTS))


def _hash(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def _image(row: Row, image_folder: Path, relative_to: Path) -> str | None:
    """The image of a row as a path: an embedded one is written out first; None where the row has none.

    Raises:
        DataError: if the row names something that is no image and no path.
    """
    name = next((name for name in IMAGE_COLUMNS if row.fields.get(name) is not None), None)
    if name is None:
        return None
    where, value = f"{row.where}: column {name}", row.fields[name]
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, dict) and not (value.get("bytes") or value.get("path") or value.get("url")):
        if all(part is None for part in value.values()):
            return None
        raise DataError(f"{where} holds neither bytes nor a path: {', '.join(map(str, value)) or 'nothing'}")
    data = embedded_bytes(value, where)
    if data is not None:
        return store_embedded(data, image_folder, where).name
    if isinstance(value, dict):
        value = value.get("path") or value.get("url")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DataError(f"{where} holds neither bytes nor a path: {type(value).__name__}")
    if value.startswith(("http://", "https://")):
        raise DataError(f"{where}: {value[:80]!r} is an address; images are read from files")
    return str(Path(value) if Path(value).is_absolute() else relative_to / value)


def _is_pairs_file(path: Path) -> bool:
    """Whether the first line has our own keys; the data sets' rows say `question` where ours say `prompt`."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = next((line for line in file if line.strip()), "")
    try:
        row = parse_json(line, str(path)) if line else None
    except DataError:  # the reader of pairs files says which line it is
        row = None
    if isinstance(row, dict) and form_of(row) is not None:
        return False
    if isinstance(row, dict) and (is_povid(row) or is_vlfeedback(row) or ("prompt" in row and "id" not in row)):
        return False
    if isinstance(row, dict) and _holds_its_image_otherwise(row):
        return False
    return '"prompt"' in line and '"question"' not in line.partition('"chosen"')[0]


def _holds_its_image_otherwise(row: Mapping[str, Any]) -> bool:
    """Whether a row's image is no path under `image`: an object with bytes, a list, or another column."""
    if isinstance(row.get("image"), dict | list):
        return True
    return "image" not in row and any(name in row for name in IMAGE_COLUMNS)


def _download(name: str) -> list[Path]:
    """Parquet files of a data set on the Hub (cached by its client)."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such file or folder, and no data set name (org/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, repo_type="dataset", allow_patterns="*.parquet")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(f"{name}: cannot be fetched from the Hub: {error}") from error
    return _some(sorted(Path(folder).rglob("*.parquet")), name)


def _some(files: Sequence[Path], name: str) -> list[Path]:
    if not files:
        raise DataError(f"{name}: this data set holds no Parquet file")
    return list(files)


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    return value if isinstance(value, str | int | float | bool) else str(value)

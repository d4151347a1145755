"""Published preference data as pairs: RLHF-V-Dataset, RLAIF-V-Dataset, and our own pairs files.

    RLHF-V-Dataset    columns image {bytes, path}, text (JSON: question, chosen, rejected), ds_name, idx, ...
    RLAIF-V-Dataset   columns image {bytes, path}, question, chosen, rejected, ds_name, idx, ...
    other trainers    TRL, LLaMA-Factory, ms-swift: see `aligners.preference.exchange`

Rows come from Parquet files (one, a folder of them, or a data set's name on the Hub), from JSON lines, CSV or TSV; an
image is embedded (bytes, base64) or a path. Embedded images are written out once, named after their content.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aligners.preference.exchange import form_of, pair_from
from aligners.preference.pairs import Pair, read_pairs
from evalkit.annotation.exports import pairs as pairs_of
from evalkit.annotation.study import is_study, read_study
from evalkit.errors import DataError
from evalkit.files.atomic import replaced
from evalkit.files.rows import Row, parse_json, read_rows

_TEXTS = ("question", "chosen", "rejected")
_META = ("ds_name", "origin_dataset", "origin_split", "idx")
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def read_preferences(source: Path | str, image_folder: Path) -> tuple[list[Pair], Path]:
    """Pairs of a file, folder or Hub data set, and the folder where their image paths begin.

    Args:
        source: .parquet, .jsonl, .json, .csv, .tsv; a folder of Parquet files; a study that people corrected or
            compared (`evalkit annotate`); or a Hub name such as "org/name".
        image_folder: embedded images are written there.
    Raises:
        DataError: if it is absent, has other columns, or a row is malformed; file and row are named.
    """
    path = Path(source)
    if is_study(path):
        return _study_pairs(path), path.resolve()
    if path.suffix == ".jsonl" and _is_pairs_file(path):
        return list(read_pairs(path)), path.parent
    if path.is_dir():
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
        for number, row in enumerate(_rows(file)):
            pair = _exchanged(row, number, file.parent.resolve()) or pair_of(row, embedded, file.parent.resolve())
            if pair.id in seen:
                pair = Pair(f"{pair.id}#{len(pairs)}", pair.image, pair.prompt, pair.chosen, pair.rejected, pair.meta)
            seen.add(pair.id)
            pairs.append(pair)
    return pairs, embedded


def _study_pairs(path: Path) -> list[Pair]:
    """Pairs of a study of corrections or comparisons (`evalkit annotate`); image paths are absolute.

    Raises:
        DataError: if it holds marks, or nothing was corrected or preferred yet.
    """
    found = pairs_of(read_study(path))
    if not found.rows:
        told = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
        raise DataError(f"{path}: the study has no pair yet{f' ({told})' if told else ''}")
    return [Pair(**row) for row in found.rows]


def _exchanged(row: Row, number: int, relative_to: Path) -> Pair | None:
    """The pair of a row in another trainer's form; its image is a path."""
    pair = pair_from(row.fields, row.where, number)
    if pair is None or pair.image is None:
        return pair
    return replace(pair, image=str(relative_to / pair.image))


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
    if "image" not in row.fields and "image_path" not in row.fields:
        raise DataError(f"{row.where}: no column image; found {', '.join(sorted(row.fields))}")
    image = _image(row, image_folder, relative_to)
    return Pair(_id(row, texts), image, _without_marker(texts["question"]), texts["chosen"], texts["rejected"], meta)


def _texts(row: Row) -> dict[str, str]:
    """question, chosen and rejected, from columns of their own or from the JSON column `text`."""
    fields: Mapping[str, Any] = row.fields
    if not all(name in fields for name in _TEXTS) and isinstance(fields.get("text"), str):
        value = parse_json(fields["text"], f"{row.where}, column text")
        if isinstance(value, list):  # the older form: [question, chosen, rejected, ...]
            value = dict(zip(_TEXTS, value, strict=False))
        fields = value if isinstance(value, dict) else {}
    wrong = sorted(name for name in _TEXTS if not isinstance(fields.get(name), str))
    if wrong:
        raise DataError(
            f"{row.where}: expected texts question, chosen and rejected (as columns, or as JSON in a column text); "
            f"wrong or missing: {', '.join(wrong)}; columns found: {', '.join(sorted(row.fields))}"
        )
    return {name: fields[name] for name in _TEXTS}


def _without_marker(question: str) -> str:
    """LLaVA's data writes "<image>\\n" before or after a question; the chat template places the image itself."""
    return question.replace("<image>", "").strip()


def _id(row: Row, texts: Mapping[str, str]) -> str:
    """ds_name and idx where the row has them, else a hash of its texts."""
    if row.fields.get("idx") is not None:
        return f"{row.fields.get('ds_name') or 'row'}-{row.fields['idx']}"
    return hashlib.sha256(json.dumps([texts[name] for name in _TEXTS]).encode()).hexdigest()[:12]


def _image(row: Row, image_folder: Path, relative_to: Path) -> str | None:
    value = row.fields.get("image")
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return _store(value["bytes"], image_folder)
        value = value.get("path")
    if isinstance(value, bytes):
        return _store(value, image_folder)
    if value is None:
        value = row.fields.get("image_path")
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{row.where}: column image holds neither bytes nor a path: {type(value).__name__}")
    if len(value) > 1024:
        try:
            return _store(base64.b64decode(value, validate=True), image_folder)
        except binascii.Error as error:
            raise DataError(f"{row.where}: column image is neither a path nor base64: {error}") from error
    return str(Path(value) if Path(value).is_absolute() else relative_to / value)


def _store(data: bytes, folder: Path) -> str:
    """Write an embedded image under the hash of its bytes; returns the name below `folder`."""
    suffix = next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), ".img")
    name = hashlib.sha256(data).hexdigest()[:24] + suffix
    path = folder / name
    if not path.is_file():
        with replaced(path, shared=True) as beside:
            beside.write_bytes(data)
    return name


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
    else:
        yield from read_rows(path)


def _parquet_rows(path: Path, batch: int = 64) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'hallu-evalkit[align]'") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for table in file.iter_batches(batch):
                for fields in table.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", fields)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _is_pairs_file(path: Path) -> bool:
    """Whether the first line has our own keys; the data sets' rows say `question` where ours say `prompt`."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        line = next((line for line in file if line.strip()), "")
    try:
        row = parse_json(line, str(path)) if line else None
    except DataError:  # the reader of pairs files says which line it is
        row = None
    if isinstance(row, dict) and form_of(row) is not None:
        return False
    return '"prompt"' in line and '"question"' not in line.partition('"chosen"')[0]


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

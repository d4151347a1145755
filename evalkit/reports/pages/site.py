"""A static site of a comparison: tables, paired differences, every sample with its picture. No server, no network.

    index.html          boards of the runs, differences to the first run of each
    N.html              the samples of board N, all runs side by side; pages are read when they are looked at
    N/index.js, N/K.js  what its script reads: which samples hallucinate or failed, then 40 samples a file
    images/             small pictures, one for each image that any run shows

Data lie in scripts and not in JSON because a page that is opened from a disk may not fetch files, but may load scripts.
The script makes text nodes of all texts; pictures are decoded and encoded again (`evalkit.reports.pages.thumbnails`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.analysis.comparison import compare
from evalkit.analysis.leaderboard import Board, boards
from evalkit.errors import DataError, RecordError
from evalkit.files.atomic import replace_text, replaced
from evalkit.reports.boards import board_html
from evalkit.reports.markup import STYLE, clean
from evalkit.reports.pages.page import left_out
from evalkit.reports.pages.thumbnails import picture_to_send
from evalkit.reports.tables import arrow
from evalkit.reports.templating import markup, rendered
from evalkit.runs.run import Run, failed_stage
from evalkit.schema import Json, Record

CHUNK = 40  # samples in one file
WIDTH = 480  # pixels of a picture
LONGEST_TEXT = 4_000  # characters of a response


def write_site(runs: Sequence[Run], folder: Path, images: Sequence[Path] = ()) -> str:
    """Write the site; returns a sentence that says where it is and what it weighs.

    Args:
        images: folders that pictures may be taken from, beside those of the runs.
    Raises:
        RecordError: if the folder holds something else already, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "site.js").exists():
        raise RecordError(f"{folder} is not empty and not a site of evalkit: choose another folder")
    shown = boards(runs)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        pictures = _Pictures(folder / "images", [*images, *(run.path for run in runs if run.path)])
        for number, board in enumerate(shown, 1):
            _write_board(folder, number, board, pictures)
        parts = [
            {"number": number, "board": board, "table": markup(_table(board)), "pairs": _differences(board)}
            for number, board in enumerate(shown, 1)
        ]
        common = {"style": markup(STYLE), "version": __version__}
        page = rendered("evalkit.reports", "site_index.html", parts=parts, arrow=arrow, **common)
        replace_text(folder / "index.html", page)
        script = files("evalkit.reports").joinpath("templates", "site.js").read_text("utf-8")
        replace_text(folder / "site.js", script)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    weight = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sizes = f"{pictures.bytes / 1e6:.1f} MB of images, {weight / 1e6:.1f} MB in all{left_out(pictures.refused)}"
    return f"{folder / 'index.html'}: {len(runs)} run{'s' if len(runs) != 1 else ''}, {sizes}"


def _table(board: Board) -> str:
    return board_html(board, [metric for metric in board.metrics if not metric.detail])


def _differences(board: Board) -> list[Any]:
    """The first run against each other one; none if there is only one run, or they cannot be compared."""
    own = [run for run in board.runs if isinstance(run, Run)]
    if len(own) < 2:
        return []
    try:
        return list(compare(*own, groups=False, metrics=[m.name for m in board.metrics if not m.detail]).pairs)
    except DataError:
        return []


class _Pictures:
    """Small pictures by what the records call them; each is written once."""

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        self.folder, self.sources = folder, sources
        self.names: dict[tuple[str, str], str | None] = {}
        self.bytes = self.refused = 0

    def name(self, image: Mapping[str, Json] | None) -> str | None:
        """File name of a picture in the folder; None where there is none to show."""
        if image is None:
            return None
        key = (str(image["folder"]), str(image["name"]))
        if key not in self.names:
            try:
                data = picture_to_send(image, WIDTH, self.sources)
            except DataError:
                self.refused += 1
                self.names[key] = None
            else:
                name = hashlib.sha256("\x00".join(key).encode("utf-8", "surrogatepass")).hexdigest()[:16] + ".jpg"
                with replaced(self.folder / name, shared=True) as beside:
                    beside.write_bytes(data)
                self.bytes += len(data)
                self.names[key] = name
        return self.names[key]


def _write_board(folder: Path, number: int, board: Board, pictures: _Pictures) -> None:
    """The page of a board and the scripts it reads."""
    own = folder / str(number)
    own.mkdir(exist_ok=True)
    by_run = [{_key(row): row for row in run.rows} if isinstance(run, Run) else {} for run in board.runs]
    keys = list(dict.fromkeys(key for rows in by_run for key in rows))
    labels = [clean(entry.label) for entry in board.entries]
    kinds = ["".join(_kind(rows.get(key)) for key in keys) for rows in by_run]
    _script(own / "index.js", "index", {"labels": labels, "kinds": kinds, "chunk": CHUNK, "items": len(keys)})
    for start in range(0, len(keys), CHUNK):
        samples = [_sample(key, [rows.get(key) for rows in by_run], pictures) for key in keys[start : start + CHUNK]]
        _script(own / f"{start // CHUNK}.js", "chunk", {"number": start // CHUNK, "samples": samples})
    values = {"style": markup(STYLE), "board": board, "number": number, "version": __version__}
    replace_text(folder / f"{number}.html", rendered("evalkit.reports", "site_board.html", **values))


def _key(row: Record) -> tuple[str, int]:
    return str(row["id"]), int(row.get("sample") or 0)


def _kind(row: Record | None) -> str:
    """One letter for a sample: h hallucinates, c clean, f failed, - not there."""
    if row is None:
        return "-"
    if failed_stage(row) is not None:
        return "f"
    findings = row["score"].get("findings") or []
    counts = row["score"]["counts"] or {}
    wrong = any(finding["label"] == "hallucinated" for finding in findings) or counts.get("hallucinated_responses")
    return "h" if wrong else "c"


def _sample(key: tuple[str, int], rows: Sequence[Record | None], pictures: _Pictures) -> list[Json]:
    """[id, prompt, picture, [response of each run]]."""
    first = next(row for row in rows if row is not None)
    name = clean(key[0]) + (f" #{key[1]}" if key[1] else "")
    return [name, clean(first.get("prompt") or ""), pictures.name(first.get("image")), [_response(row) for row in rows]]


def _response(row: Record | None) -> Json:
    """None for a sample that a run has not; a text that failed as its reason; else [text, spans]."""
    if row is None:
        return None
    failure = row["response"].get("failure") or row["score"].get("failure")
    text = row["response"]["text"]
    if text is None:
        return [clean(failure or "no response"), None]
    return [clean(text[:LONGEST_TEXT]), _spans(row["score"].get("findings") or [], min(len(text), LONGEST_TEXT))]


def _spans(findings: Iterable[Record], length: int) -> list[Json]:
    """Spans [start, end, label, note], those that overlap an earlier one left out."""
    spans: list[Json] = []
    place = 0
    for finding in sorted(findings, key=lambda one: (int(one["start"]), -int(one["end"]))):
        start, end = int(finding["start"]), min(int(finding["end"]), length)
        if place <= start < end:
            spans.append([start, end, clean(finding["label"]), clean(finding.get("note") or "")])
            place = end
    return spans


def _script(path: Path, name: str, value: Json) -> None:
    """A script that hands a value over; `<` and the two line ends that only JavaScript knows are written as escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    replace_text(path, f"evalkit.{name}({text});\n", shared=True)
